"""Rows, snapshots and job folders for the trainer's tests."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pawl_shared.recipes import RecipeChoice
from pawl_trainer.preprocessing.rows import Message, Row
from pawl_trainer.spec import RunSpec, TrainingSettings

START = datetime(2026, 1, 1, tzinfo=UTC)
BASE, DATASET = "b" * 64, "d" * 64


def thumb(number: int, liked: bool = True, **changes: Any) -> Row:
    """A rated answer to a prompt of its own, unless `changes` say otherwise."""
    row = Row(
        kind="binary",
        messages=(Message("user", f"What is a good way to learn number {number}?"),),
        completion=f"Start with a simple soup, then try bread {number}.",
        chosen=None,
        rejected=None,
        label=liked,
        finished=True,
        origin="thumb",
        weight=1.0,
        split="train",
        subject=f"person-{number}",
        session=f"session-{number}",
        inference_ids=(f"inference-{number}",),
        feedback_ids=(f"feedback-{number}",),
        time=START + timedelta(minutes=number),
    )
    return replace(row, **changes)


def correction(number: int, **changes: Any) -> Row:
    """A cut answer that somebody shortened."""
    long = f"Pack a map, water and a warm coat, then plan a short trip to the sea number {number} and"
    pair = thumb(number, kind="pair", completion=None, label=None, origin="correction", finished=False)
    return replace(pair, **({"chosen": f"Pack a map {number}.", "rejected": long} | changes))


def prompt(text: str) -> tuple[Message, ...]:
    """A conversation of one question."""
    return (Message("user", text),)


def write_snapshot(folder: Path, rows: Sequence[Row]) -> Path:
    """data.parquet and manifest.json, as the monitor freezes them."""
    folder.mkdir(parents=True, exist_ok=True)
    text, stamp = pa.string(), pa.timestamp("us", "UTC")
    types = {"finished": pa.bool_(), "label": pa.bool_(), "weight": pa.float64(), "time": stamp}
    types |= {name: pa.list_(text) for name in ("inference_ids", "feedback_ids")}
    types |= {"messages": pa.list_(pa.struct([("role", text), ("content", text)]))}
    schema = pa.schema([(name, types.get(name, text)) for name in Row.__dataclass_fields__])
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema)
    pq.write_table(table, folder / "data.parquet")
    (folder / "manifest.json").write_text(json.dumps({"format": "pawl.dataset.v1"}))
    return folder


def job(folder: Path, base: Path, rows: Sequence[Row], recipe: RecipeChoice = "auto", **settings: Any) -> RunSpec:
    """A job folder with its spec.json, ready for the child; `settings` are those of training."""
    folder.mkdir(parents=True)
    spec = RunSpec(
        run="run-1",
        model="default/assistant",
        base_dir=base,
        base=BASE,
        dataset_dir=write_snapshot(folder.parent / f"{folder.name}-snapshot", rows),
        dataset=DATASET,
        recipe=recipe,
        seed=7,
        settings=TrainingSettings(**({"target_steps": 3, "max_epochs": 2, "threads": 1} | settings)),
    )
    (folder / "spec.json").write_text(spec.model_dump_json())
    return spec
