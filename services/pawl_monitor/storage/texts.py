"""Rows with their texts opened. The database holds sealed text; only what is shown or learnt from is opened, here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pawl_shared.sealed.events import answer_place, feedback_place, message_place
from pawl_shared.sealed.text import Opener, Unavailable

Fact = dict[str, Any]
# Keys are looked up for so many rows at once; well below what an opener remembers.
CHUNK = 5_000


class Texts:
    """Opens the texts of rows of the tables `answers` and `feedback`."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener

    def interaction(self, answer: Fact) -> Fact:
        """An answer with its messages, and with the feedback on it; markers where a text cannot be had."""
        at, choice = answer["inference_id"], answer["choice"]
        said = [
            event | {"text": self._open(event["text"], feedback_place(at, event["choice"], event["kind"]))}
            for event in answer["feedback_events"]
        ]
        answered = self._open(answer["answer"], answer_place(at, choice))
        messages = self._messages(answer["messages"], at, choice)
        return answer | {"messages": messages, "answer": answered, "feedback_events": said}

    def interactions(self, answers: Sequence[Fact]) -> list[Fact]:
        """Several of them, with one look-up of their keys. Raises KeysUnreadableError."""
        texts = (
            text
            for answer in answers
            for text in (
                *(turn["content"] for turn in answer["messages"]),
                answer["answer"],
                *(event["text"] for event in answer["feedback_events"]),
            )
        )
        self._opener.load(text for text in texts if text is not None)
        return [self.interaction(answer) for answer in answers]

    def feedback(self, rows: Sequence[Fact]) -> Iterator[Fact]:
        """Feedback beside its answers (see datasets.FEEDBACK_SQL), in order, without the rows that miss a text.

        Raises:
            KeysUnreadableError: a data set of what happens to be readable would be another one than asked for.
        """
        for start in range(0, len(rows), CHUNK):
            parsed = [self._parsed(row) for row in rows[start : start + CHUNK]]
            self._opener.load(text for row in parsed for text in _texts(row))
            opened = (self._row(row) for row in parsed)
            yield from (row for row in opened if not any(isinstance(text, Unavailable) for text in _texts(row)))

    def _parsed(self, row: Fact) -> Fact:
        other = row["other_messages"]
        return row | {"messages": json.loads(row["messages"]), "other_messages": other and json.loads(other)}

    def _row(self, row: Fact) -> Fact:
        at, choice, other = row["inference_id"], row["choice"], row["other_id"]
        changed = {
            "messages": self._messages(row["messages"], at, choice),
            "answer": self._open(row["answer"], answer_place(at, choice)),
            "text": self._open(row["text"], feedback_place(at, choice, row["kind"])),
        }
        if other is not None:
            changed["other_messages"] = self._messages(row["other_messages"], other, row["other_choice"])
            changed["other_answer"] = self._open(row["other_answer"], answer_place(other, row["other_choice"]))
        return row | changed

    def _messages(self, messages: Sequence[Fact], at: object, choice: int) -> list[Fact]:
        return [
            turn | {"content": self._open(turn["content"], message_place(str(at), choice, index))}
            for index, turn in enumerate(messages)
        ]

    def _open(self, text: str | None, place: str) -> str | None:
        return None if text is None else self._opener.open(text, place)


def _texts(row: Fact) -> Iterator[str]:
    """Every text in a row."""
    turns = [*row["messages"], *(row["other_messages"] or ())]
    texts = (*(turn["content"] for turn in turns), row["answer"], row["text"], row["other_answer"])
    return (text for text in texts if text is not None)
