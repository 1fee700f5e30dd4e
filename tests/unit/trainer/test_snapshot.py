"""Reading snapshots: whole ones come back as written, others are refused with a sentence."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.training import correction, thumb, write_snapshot

from pawl_trainer.errors import SnapshotError
from pawl_trainer.preprocessing.snapshot import read_snapshot


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [thumb(1), thumb(2, liked=False, subject=None), correction(3)]
    found, manifest = read_snapshot(write_snapshot(tmp_path, rows))
    assert found == rows
    assert manifest["format"] == "pawl.dataset.v1"


@pytest.mark.parametrize("name", ["data.parquet", "manifest.json"])
def test_a_missing_or_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    write_snapshot(tmp_path, [thumb(1)])
    (tmp_path / name).write_bytes(b"not it")
    with pytest.raises(SnapshotError, match="cannot be read"):
        read_snapshot(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(SnapshotError, match="Ask for retraining again"):
        read_snapshot(tmp_path)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    file = write_snapshot(tmp_path, [thumb(1)]) / "data.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["finished"]), file)
    with pytest.raises(SnapshotError, match="lacks the columns finished"):
        read_snapshot(tmp_path)
