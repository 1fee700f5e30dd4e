"""Freezes a data set: feedback since a moment, as immutable Parquet with a manifest, named by its digest.

The same rows always make the same bytes: everything is ordered by event ids, and the split hangs on the prompt alone.
A prompt that is held out stays so in every later snapshot.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pawl_monitor.domain.trigger_state import Usable
from pawl_monitor.storage.texts import Texts
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.ids import uniform

# An arm's system prompt is no part of the stored conversation: what people say of such an answer may be meant for the
# prompt, and training on it would teach an answer to a question that nobody asked. A text completion was made without a
# chat template, and would be trained with one.
# One row for each piece of feedback that says which answer is wanted; the latest of its kind on an answer wins.
_COLUMNS = """
SELECT f.feedback_id, f.kind, f.value, f.text, f.time, f.subject, a.session, a.inference_id, a.choice, a.messages,
       a.answer, a.finish_reason, o.inference_id AS other_id, o.choice AS other_choice,
       o.messages AS other_messages, o.answer AS other_answer,
       o.finish_reason AS other_finish"""
_SAID = """
FROM feedback f
JOIN answers a ON a.inference_id = f.inference_id AND a.choice = f.choice"""
_OTHER = """
LEFT JOIN answers o ON o.inference_id = f.other_inference_id AND o.choice = coalesce(f.other_choice, 0)
  AND coalesce(o.prompt_version, '') = '' AND coalesce(o.form, 'chat') = 'chat'"""
_WANTED = """
WHERE f.model = $model AND f.time >= $since AND f.time <= $until AND a.arm <> 'pinned'
  AND coalesce(a.prompt_version, '') = '' AND coalesce(a.form, 'chat') = 'chat'
  AND f.kind IN ('thumb', 'rating', 'correction', 'comparison')
QUALIFY row_number() OVER (
    PARTITION BY f.inference_id, f.choice, f.kind, f.other_inference_id, f.other_choice
    ORDER BY f.time DESC, f.feedback_id DESC) = 1
ORDER BY f.time, f.feedback_id
"""
FEEDBACK_SQL = _COLUMNS + _SAID + _OTHER + _WANTED
IDS_SQL = "SELECT f.feedback_id" + _SAID + _WANTED
SOME_SQL = _COLUMNS + _SAID + _OTHER + " WHERE f.feedback_id IN (SELECT unnest($ids)) ORDER BY f.time, f.feedback_id"

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("completion", pa.string()),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("label", pa.bool_()),
        ("finished", pa.bool_()),
        ("origin", pa.string()),
        ("weight", pa.float64()),
        ("split", pa.string()),
        ("subject", pa.string()),
        ("session", pa.string()),
        ("inference_ids", pa.list_(pa.string())),
        ("feedback_ids", pa.list_(pa.string())),
        ("time", pa.timestamp("us", "UTC")),
    ]
)

Line = dict[str, Any]
Lines = Sequence[Line]


@dataclass(frozen=True)
class Request:
    """Which feedback, and what the snapshot is for."""

    model: str
    since: datetime
    until: datetime
    base: str
    parent: str | None = None
    alarm: UUID | None = None
    heldout_share: float = 0.25


@dataclass(frozen=True)
class Frozen:
    """What a snapshot was decided on: the moment of that, and of each row what is counted."""

    until: datetime
    lines: Lines


def collect(cursor: duckdb.DuckDBPyConnection, request: Request, texts: Texts) -> list[Line]:
    """The rows of the snapshot, in order. Left out: feedback that says nothing to learn from, and erased texts.

    Raises:
        KeysUnreadableError: the keys of sealed texts cannot be read now.
    """
    return _lines(cursor.execute(FEEDBACK_SQL, _values(request)), request, texts)


def wanted(cursor: duckdb.DuckDBPyConnection, request: Request) -> list[UUID]:
    """The ids of the feedback that `collect` looks at; no text is read."""
    return [identity for (identity,) in cursor.execute(IDS_SQL, _values(request)).fetchall()]


def collect_some(
    cursor: duckdb.DuckDBPyConnection, request: Request, texts: Texts, ids: Collection[UUID]
) -> list[Line]:
    """The rows of `collect` that these pieces of feedback make. Raises like it."""
    return _lines(cursor.execute(SOME_SQL, {"ids": list(ids)}), request, texts)


def _values(request: Request) -> dict[str, Any]:
    return {"model": request.model, "since": request.since, "until": request.until}


def _lines(result: duckdb.DuckDBPyConnection, request: Request, texts: Texts) -> list[Line]:
    names = [column[0] for column in result.description]
    found = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    lines = (_line(feedback, request.heldout_share) for feedback in texts.feedback(found))
    return [line for line in lines if line is not None]


def usable(lines: Lines) -> Usable:
    """What the trigger policy weighs: rows that the trainer will not leave out.

    It leaves out liked answers that were cut at the token limit, which would teach never to end (45 of 48 in one run).
    """
    return Usable(**Counter(name for line in lines if (name := counted_as(line))))


def counted_as(line: Line) -> str | None:
    """The field of Usable in which a row counts; none: the trainer leaves it out."""
    if line["split"] == "train" and line["label"] is True and not line["finished"]:
        return None
    kind = "pairs" if line["kind"] == "pair" else "up" if line["label"] else "down"
    return f"heldout_{kind}" if line["split"] == "heldout" else kind


def counts(lines: Lines) -> dict[str, int]:
    """Rows by split, and by kind, label and split."""
    labels = {True: "/up", False: "/down", None: ""}
    every = Counter(f"{line['kind']}{labels[line['label']]}/{line['split']}" for line in lines)
    every.update(line["split"] for line in lines)
    return dict(sorted(every.items()))


def freeze(lines: Lines, request: Request, artifacts: ArtifactStore) -> str:
    """Write the snapshot into the artifact store; answers its digest."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        pq.write_table(pa.Table.from_pylist(list(lines), SCHEMA), folder / "data.parquet", compression="zstd")
        (folder / "manifest.json").write_text(json.dumps(_manifest(lines, request), indent=2, sort_keys=True))
        return artifacts.put_folder(folder)


def read(folder: Path) -> Frozen:
    """A snapshot's moment and rows, without their texts."""
    manifest = json.loads((folder / "manifest.json").read_text())
    lines = pq.read_table(folder / "data.parquet", columns=["kind", "label", "finished", "split"]).to_pylist()
    return Frozen(datetime.fromisoformat(manifest["until"]), lines)


def split_of(messages: Sequence[dict[str, str]], heldout_share: float) -> str:
    """A prompt's side: by its text alone, whatever its case and spaces, so that it never stands on both."""
    text = "\n".join(" ".join(message["content"].casefold().split()) for message in messages)
    return "heldout" if uniform("heldout", text) < heldout_share else "train"


def _manifest(lines: Lines, request: Request) -> dict[str, Any]:
    subjects = {
        split: {line["subject"] for line in lines if line["split"] == split and line["subject"]}
        for split in ("train", "heldout")
    }
    return {
        "format": "pawl.dataset.v1",
        "model": request.model,
        "base": request.base,
        "parent": request.parent,
        "alarm_id": None if request.alarm is None else str(request.alarm),
        "since": request.since.isoformat(),
        "until": request.until.isoformat(),
        "counts": counts(lines),
        "subjects": {split: len(keys) for split, keys in subjects.items()},
        "subjects_in_both": len(subjects["train"] & subjects["heldout"]),
        "policy": {"heldout_share": request.heldout_share, "split": "hash of the prompt's text"},
        "sql": FEEDBACK_SQL.strip(),
        "columns": SCHEMA.names,
    }


def _line(feedback: dict[str, Any], heldout_share: float) -> Line | None:
    messages = feedback["messages"]
    content = _content(feedback)
    if content is None:
        return None
    return {
        "kind": "binary",
        "messages": [{"role": m["role"], "content": m["content"]} for m in messages],
        "completion": None,
        "chosen": None,
        "rejected": None,
        "label": None,
        "finished": feedback["finish_reason"] == "stop",
        "origin": "thumb",
        "weight": 1.0,
        "split": split_of(messages, heldout_share),
        "subject": feedback["subject"],
        "session": feedback["session"],
        "inference_ids": [str(feedback["inference_id"])],
        "feedback_ids": [str(feedback["feedback_id"])],
        "time": feedback["time"],
        **content,
    }


def _content(feedback: dict[str, Any]) -> Line | None:
    match feedback["kind"]:
        case "thumb" if feedback["value"] is not None:
            return {"completion": feedback["answer"], "label": feedback["value"] >= 0.5}
        case "rating" if feedback["value"] is not None and feedback["value"] != 3:
            return {"completion": feedback["answer"], "label": feedback["value"] > 3}
        case "correction":
            return _correction(feedback)
        case "comparison":
            return _comparison(feedback)
        case _:
            return None


def _correction(feedback: dict[str, Any]) -> Line | None:
    chosen = (feedback["text"] or "").strip()
    if not chosen or chosen == feedback["answer"].strip():
        return None
    return {"kind": "pair", "origin": "correction", "chosen": chosen, "rejected": feedback["answer"]}


def _comparison(feedback: dict[str, Any]) -> Line | None:
    """Of the two mirrored events the winner's counts; the answers must be to the same prompt, and differ."""
    won = feedback["value"] is not None and feedback["value"] >= 0.5
    if not won or feedback["other_messages"] != feedback["messages"] or feedback["other_answer"] == feedback["answer"]:
        return None
    return {
        "kind": "pair",
        "origin": "comparison",
        "chosen": feedback["answer"],
        "rejected": feedback["other_answer"],
        "finished": feedback["other_finish"] == "stop",
        "inference_ids": [str(feedback["inference_id"]), str(feedback["other_id"])],
    }
