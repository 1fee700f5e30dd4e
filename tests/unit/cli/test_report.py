"""The page and the JSON of a run: complete, self-contained, and safe against what models say."""

import json
import re
from pathlib import Path

from pawl_cli.demo import report
from pawl_cli.demo.measure import Visit
from pawl_cli.demo.phases import Plan, State
from pawl_cli.demo.plot import heights
from pawl_cli.demo.report import Result, judge, measure

BASE, ADAPTER = "a" * 64, "b" * 64


def visits() -> list[Visit]:
    rows = [("regular", "anything", BASE, 1.0)] * 60 + [("regular", "short", BASE, 0.0)] * 60
    rows += [("unseen", "short", ADAPTER, 1.0)] * 60
    return [
        Visit(float(n), n + 0.5, audience, taste, reward, 30.0, frozenset({version}))
        for n, (audience, taste, version, reward) in enumerate(rows)
    ]


def result() -> Result:
    marks = ((60.0, "taste changes"), (80.0, "alarm"), (90.0, "canary"), (120.0, "promotion"))
    ids = {"alarm": "11111111-2222-3333-4444-555555555555", "adapter": ADAPTER}
    state = State(
        phase="after", seconds={"setup": 1.0, "after": 2.0}, shifted=60.0, marks=marks, ids=ids, promoted=True
    )
    measured = measure(state, visits(), ADAPTER)
    outcome = judge(Plan(), state, measured)
    return Result(
        Plan(), 1, state, measured, outcome, 4_200_000_000, BASE, explained=("it said <script>alert(1)</script>",)
    )


def test_files_are_written_and_the_json_has_every_promised_field(tmp_path: Path) -> None:
    files = report.write(result(), visits(), tmp_path / "out")
    assert files["chart"].read_bytes().startswith(b"\x89PNG")
    found = json.loads(files["result"].read_text())
    assert found["exit_code"] == 0
    assert set(found["seconds"]) == {"setup", "before", "detect", "collect", "train", "validate", "canary", "after"}
    for name in ("approval_before", "approval_drifted", "approval_after"):
        assert set(found[name]) == {"point", "low", "high", "sessions"}
    for name in ("alarm", "dataset", "adapter", "promotion", "memory_peak_bytes", "rejections"):
        assert name in found


def test_the_page_needs_nothing_else_and_escapes_what_models_say(tmp_path: Path) -> None:
    page = report.write(result(), visits(), tmp_path)["report"].read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.findall(r'(?:src|href)="(?!#)', page)
    assert "promotion" in page
    assert result().outcome.sentence.split(" [")[0] in page


def test_labels_of_marks_never_overlap() -> None:
    assert heights([0.30, 0.31, 0.33, 0.60, 0.61], [0.1] * 5) == [0, 1, 2, 0, 1]
    assert heights([], []) == []


def test_a_run_that_never_began_still_has_a_report(tmp_path: Path) -> None:
    state = State()
    measured = measure(state, [], None)
    empty = Result(Plan(), 0, state, measured, judge(Plan(), state, measured), 0, "")
    files = report.write(empty, [], tmp_path)
    assert json.loads(files["result"].read_text())["approval_after"] is None
