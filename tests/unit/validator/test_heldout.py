"""Which held-out rows are scored."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pawl_shared.errors import ArtifactError
from pawl_validator.evaluation.heldout import read


def row(number: int, kind: str, **values: Any) -> dict[str, Any]:
    return {
        "kind": kind, "messages": [{"role": "user", "content": f"Question {number}?"}], "completion": None,
        "chosen": None, "rejected": None, "label": None, "finished": False, "origin": "thumb", "weight": 1.0,
        "split": "heldout", "subject": "u", "session": "s", "inference_ids": ["i"], "feedback_ids": [f"f{number}"],
        "time": datetime(2026, 1, 1, tzinfo=UTC), **values,
    }  # fmt: skip


def snapshot(folder: Path, *, pairs: int, thumbs: int) -> Path:
    rows = [row(n, "pair", chosen="Short.", rejected="A long one.") for n in range(pairs)]
    rows += [row(100 + n, "binary", completion=f"Answer {n}.", label=n % 2 == 0) for n in range(2 * thumbs)]
    rows += [row(900, "binary", completion="", label=True), row(901, "pair", chosen="a", rejected="b", split="train")]
    pq.write_table(pa.Table.from_pylist(rows), folder / "data.parquet")
    return folder


@pytest.mark.parametrize(("pairs", "expected"), [(0, 24), (7, 24), (8, 12), (30, 12)])
def test_pairs_come_first_and_thumbs_fill_up(tmp_path: Path, pairs: int, expected: int) -> None:
    found = read(snapshot(tmp_path, pairs=pairs, thumbs=40), limit=24)
    assert len(found.pairs) == min(pairs, 24)
    assert (len(found.ups), len(found.downs)) == (expected, expected)


def test_the_end_counts_where_the_answer_ended_by_itself(tmp_path: Path) -> None:
    found = read(snapshot(tmp_path, pairs=2, thumbs=0), limit=24)
    assert [(chosen.ended, rejected.ended) for chosen, rejected in found.pairs] == [(True, False)] * 2


def test_the_same_snapshot_gives_the_same_rows(tmp_path: Path) -> None:
    folder = snapshot(tmp_path, pairs=3, thumbs=40)
    assert read(folder, limit=24) == read(folder, limit=24)


def test_what_is_no_snapshot_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "data.parquet").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read(tmp_path, limit=24)
