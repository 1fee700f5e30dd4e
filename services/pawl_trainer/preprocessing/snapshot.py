"""Reads a dataset snapshot: data.parquet and manifest.json."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pawl_trainer.errors import SnapshotError
from pawl_trainer.preprocessing.rows import Message, Row

COLUMNS = tuple(Row.__dataclass_fields__)


def read_snapshot(folder: Path) -> tuple[list[Row], dict[str, Any]]:
    """The rows and the manifest of the snapshot in `folder`.

    Raises SnapshotError when a file is missing, is not Parquet or JSON, lacks a column or holds a bad value.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        table = pq.read_table(folder / "data.parquet")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise SnapshotError(f"the dataset snapshot cannot be read: {error}") from error
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise SnapshotError(f"the dataset snapshot lacks the columns {', '.join(missing)}")
    try:
        return [_row(record) for record in table.select(list(COLUMNS)).to_pylist()], manifest
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotError(f"the dataset snapshot holds a row that makes no sense: {error!r}") from error


def _row(record: dict[str, Any]) -> Row:
    messages = tuple(Message(turn["role"], turn["content"]) for turn in record["messages"])
    return Row(
        **{
            **record,
            "messages": messages,
            "finished": bool(record["finished"]),
            "weight": float(record["weight"]),
            "inference_ids": tuple(record["inference_ids"] or ()),
            "feedback_ids": tuple(record["feedback_ids"] or ()),
        }
    )
