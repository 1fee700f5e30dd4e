"""Records that could not be read or handled."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from pawl_shared.events.base import MAX_INT, MAX_LONG, Event


class RetryDeadLettersCommand(Event):
    """Somebody has dead letters' records published again on their topic: who, why, and which."""

    TYPE = "pawl.command.retry-dead-letters.v1"
    KEY = "topic"

    topic: str
    letters: tuple[UUID, ...] = Field(min_length=1, max_length=1000, description="ids of the dead letters")
    who: str = Field(min_length=1, max_length=200)
    why: str = ""


class DeadLetter(Event):
    """A record that could not be read or handled, with its reason; bounded, and can be looked at and tried again."""

    TYPE = "pawl.dead-letter.v1"
    KEY = "topic"

    topic: str
    partition: int = Field(ge=0, le=MAX_INT)
    offset: int = Field(ge=0, le=MAX_LONG)
    service: str
    reason: str = Field(max_length=2000)
    record_key: str = Field(default="", description="base64, at most 1 KiB of the original")
    record_value: str = Field(default="", description="base64, at most 64 KiB of the original")
    record_headers: dict[str, str] = Field(default_factory=dict)
    nulls: tuple[Literal["key", "value"], ...] = Field(default=(), description="which of both was absent, not empty")
    truncated: bool = Field(default=False, description="not all of the record is kept here: it was too large")
    retry_of: UUID | None = Field(default=None, description="the earlier dead letter whose record was tried again")
    attempt: int = Field(
        default=1, ge=1, le=MAX_INT, description="how often this record has been tried, counting this time"
    )
