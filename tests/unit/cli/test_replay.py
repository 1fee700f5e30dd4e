"""`pawl replay`: what it makes of the services' reports."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pawl_cli.__main__ import app
from pawl_cli.log import replay

SAME = {
    "records": 70,
    "decisions": {"pawl.drift.detected.v1": 1},
    "same": True,
    "differences": [],
    "different": 0,
    "new": [],
    "notes": [],
}
ONE = {"type": "pawl.deployment.changed.v1", "id": "7", "what": "it comes out differently", "fields": [["share", 1, 2]]}
OTHER = {
    "records": 9,
    "decisions": {},
    "same": False,
    "differences": [ONE],
    "different": 3,
    "new": [{"type": "pawl.deployment.changed.v1", "field": "champion.run", "decisions": 5}],
    "notes": ["not all"],
}


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules `replay_SERVICE` stand in for the services' own."""
    monkeypatch.setattr(replay, "MODULE", "replay_{}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def says(child: Path, service: str, *lines: object, status: int = 0) -> None:
    printed = "".join(f"print({json.dumps(line)!r})\n" for line in lines)
    (child / f"replay_{service}.py").write_text(f"{printed}raise SystemExit({status})\n")


def replayed(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(
        app, ["replay", "--kafka-bootstrap-servers", "nowhere:1", *words], env={"COLUMNS": "200"}
    )
    return result.exit_code, result.stdout


def test_when_all_is_the_same_the_status_is_0(child: Path) -> None:
    for service in replay.SERVICES:
        says(child, service, {"service": service, "records": 3}, {"service": service, **SAME})
    status, output = replayed()
    assert status == 0
    assert "monitor    70 records; 1 pawl.drift.detected.v1: the same" in output


def test_a_difference_is_shown_and_the_status_is_3(child: Path) -> None:
    says(child, "monitor", {"service": "monitor", **SAME})
    says(child, "validator", {"service": "validator", **OTHER}, status=3)
    status, output = replayed()
    assert status == 3
    assert "validator  9 records; no decisions: 3 DIFFERENT" in output
    assert "share: on the log 1, in the replay 2" in output
    assert "and 2 more" in output
    assert "pawl.deployment.changed.v1 champion.run: new since this log was written; 5 decisions have" in output
    assert "not all" in output
    status, output = replayed("--json")
    assert status == 3
    assert [service["same"] for service in json.loads(output)["services"]] == [True, False]


def test_where_a_service_is_not_installed_its_extra_is_named(child: Path) -> None:
    (child / "replay_monitor.py").write_text("import no_such_package\n")
    result = CliRunner().invoke(app, ["replay", "--kafka-bootstrap-servers", "nowhere:1"], env={"COLUMNS": "200"})
    said = " ".join(result.output.split())  # wherever its lines are broken
    assert "No module named 'no_such_package': install Pawl's extra `monitor` here, too" in said


@pytest.mark.parametrize(
    ("lines", "reason"), [([{"service": "monitor", "error": "no Kafka"}], "no Kafka"), ([], "it ended with status 1")]
)
def test_a_replay_that_cannot_be_done_has_status_1_and_a_reason(child: Path, lines: list[object], reason: str) -> None:
    says(child, "monitor", *lines, status=1)
    result = CliRunner().invoke(app, ["replay", "--kafka-bootstrap-servers", "nowhere:1"], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert reason in result.output
