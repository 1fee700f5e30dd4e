"""Examples as TRL takes them, each with the row that it came from, so that lineage is never guessed."""

from dataclasses import dataclass, replace
from typing import Any

from pawl_trainer.preprocessing.rows import Row


@dataclass(frozen=True, slots=True)
class Example:
    """`columns` is one row of the trainer's dataset. Column `finished` is False where an answer was cut (the last turn
    must then stay open)."""

    columns: dict[str, Any]
    row: Row


def pair_example(row: Row) -> Example:
    """Preferred and rejected answer to one prompt."""
    columns = {"prompt": _prompt(row), "chosen": _answer(row.chosen), "rejected": _answer(row.rejected)}
    return Example(columns | {"finished": row.finished}, row)


def thumb_example(row: Row) -> Example:
    """One answer, liked or not."""
    columns = {"prompt": _prompt(row), "completion": _answer(row.completion), "label": bool(row.label)}
    return Example(columns | {"finished": row.finished}, row)


def demonstration_example(row: Row) -> Example:
    """One answer to imitate."""
    return Example({"prompt": _prompt(row), "completion": _answer(row.completion)}, row)


def chosen_of(pair: Row) -> Row:
    """The preferred answer of a pair, as if it had been liked on its own."""
    return replace(pair, kind="binary", completion=pair.chosen, label=True, finished=True, chosen=None, rejected=None)


def rejected_of(pair: Row) -> Row:
    """The rejected answer of a pair, as if it had been disliked on its own."""
    return replace(pair, kind="binary", completion=pair.rejected, label=False, chosen=None, rejected=None)


def _prompt(row: Row) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in row.messages]


def _answer(text: str | None) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text or ""}]
