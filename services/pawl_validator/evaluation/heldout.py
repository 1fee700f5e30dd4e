"""The held-out rows of a dataset snapshot, as what the gate `learned` scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pawl_shared.errors import ArtifactError
from pawl_shared.ids import uniform

Turns = tuple[tuple[str, str], ...]

COLUMNS = ["kind", "messages", "completion", "chosen", "rejected", "label", "finished", "split", "feedback_ids"]


@dataclass(frozen=True)
class Scored:
    """An answer to be scored after its conversation; `ended`: it ended by itself, so its end counts, too."""

    messages: Turns
    answer: str
    ended: bool


@dataclass(frozen=True)
class HeldOut:
    """What nobody trained on. A pair is (chosen, rejected)."""

    pairs: tuple[tuple[Scored, Scored], ...]
    ups: tuple[Scored, ...]
    downs: tuple[Scored, ...]
    demonstrations: tuple[Scored, ...]


def read(folder: Path, limit: int) -> HeldOut:
    """The held-out rows of a snapshot, at most `limit` of each kind and label, drawn by a hash of their feedback ids.

    Raises:
        ArtifactError: it is no dataset snapshot.
    """
    try:
        rows = pq.read_table(folder / "data.parquet", columns=COLUMNS).to_pylist()
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"the dataset snapshot cannot be read: {error}") from error
    rows = sorted((row for row in rows if row["split"] == "heldout"), key=_draw)
    binary = [row for row in rows if row["kind"] == "binary" and row["completion"]]
    pairs = tuple(
        (Scored(_turns(row), row["chosen"], True), Scored(_turns(row), row["rejected"], bool(row["finished"])))
        for row in rows
        if row["kind"] == "pair" and row["chosen"] and row["rejected"]
    )[:limit]
    # A pair says more for its time than two thumbs, which share no prompt: half of the thumbs then do.
    thumbs = limit // 2 if len(pairs) >= limit // 3 else limit
    return HeldOut(
        pairs=pairs,
        ups=_answers([row for row in binary if row["label"]], thumbs),
        downs=_answers([row for row in binary if not row["label"]], thumbs),
        demonstrations=_answers([row for row in rows if row["kind"] == "demonstration" and row["completion"]], limit),
    )


def _answers(rows: Sequence[dict[str, Any]], limit: int) -> tuple[Scored, ...]:
    return tuple(Scored(_turns(row), row["completion"], bool(row["finished"])) for row in rows[:limit])


def _turns(row: dict[str, Any]) -> Turns:
    return tuple((turn["role"], turn["content"]) for turn in row["messages"])


def _draw(row: dict[str, Any]) -> float:
    return uniform("heldout", *(row["feedback_ids"] or ()))
