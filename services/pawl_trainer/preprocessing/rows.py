"""One row of a dataset snapshot, and the keys by which rows are compared."""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, Self

Kind = Literal["demonstration", "binary", "pair"]
Origin = Literal["thumb", "correction", "comparison"]
Split = Literal["train", "heldout"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, as the chat template takes it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of data.parquet.

    `completion` and `label` belong to binary rows and demonstrations, `chosen` and `rejected` to pairs. `finished`
    says whether the served answer (completion or rejected) ended by itself; False means it was cut at the token limit.
    """

    kind: Kind
    messages: tuple[Message, ...]
    completion: str | None
    chosen: str | None
    rejected: str | None
    label: bool | None
    finished: bool
    origin: Origin
    weight: float
    split: Split
    subject: str | None
    session: str
    inference_ids: tuple[str, ...]
    feedback_ids: tuple[str, ...]
    time: datetime

    @property
    def texts(self) -> tuple[str, ...]:
        """The answers that the row holds, in a fixed order; a missing one is an empty string."""
        return (self.chosen or "", self.rejected or "") if self.kind == "pair" else (self.completion or "",)

    @property
    def prompt_key(self) -> str:
        """A digest of the conversation before the answer, the same for prompts that differ in case or spaces alone."""
        turns = [[message.role, " ".join(message.content.casefold().split())] for message in self.messages]
        return hashlib.sha256(json.dumps(turns, ensure_ascii=False).encode()).hexdigest()

    def with_lineage_of(self, others: list[Self]) -> Self:
        """The same row, standing for `others` too: their feedback trained the model as much as its own did."""
        rows = [self, *others]
        return replace(
            self,
            inference_ids=tuple(dict.fromkeys(i for row in rows for i in row.inference_ids)),
            feedback_ids=tuple(dict.fromkeys(i for row in rows for i in row.feedback_ids)),
        )
