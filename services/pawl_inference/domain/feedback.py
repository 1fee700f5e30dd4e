"""From what an app posts about an answer to FeedbackReceived events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from pawl_shared.access.tokens import Grant, KeyRing, TokenError, verify
from pawl_shared.events import FeedbackReceived, Finite, Fraction
from pawl_shared.ids import derived_id, uuid7

Kind = Literal["thumb", "rating", "correction", "comparison", "comment", "signal", "metric", "outcome"]
MAX_TEXT = 65_536
MetricName = Annotated[str, Field(min_length=1, max_length=100)]


class ComparisonError(ValueError):
    """Two answers that cannot be compared."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Comparison(_Part):
    """This answer was preferred over another one."""

    over: UUID = Field(description="inference id of the answer that lost")
    token: str = Field(description="feedback token of the answer that lost")
    choice: int = Field(default=0, ge=0, description="choice of the answer that lost")


class Signals(_Part):
    """What the user did with the answer, without having been asked."""

    copied: StrictBool | None = None
    regenerated: StrictBool | None = None
    accepted: StrictBool | None = None
    dwell_seconds: Finite | None = Field(default=None, ge=0, description="how long the answer was looked at")


class FeedbackItem(_Part):
    """What somebody thought of one answer: at least one of thumb, rating, correction, comparison, comment, metrics,
    outcomes and signals."""

    inference_id: UUID = Field(description="the answer's `id`")
    token: str = Field(description="the answer's feedback token")
    choice: int = Field(default=0, ge=0)
    thumb: Literal["up", "down"] | None = None
    rating: int | None = Field(default=None, ge=1, le=5)
    correction: str | None = Field(
        default=None, min_length=1, max_length=MAX_TEXT, description="the text it should have been"
    )
    comparison: Comparison | None = None
    comment: str | None = Field(default=None, min_length=1, max_length=MAX_TEXT)
    metrics: dict[MetricName, StrictBool | Finite] = Field(default_factory=dict, max_length=32)
    outcomes: dict[MetricName, StrictBool | Fraction] = Field(
        default_factory=dict, max_length=16, description="how the session ended, from 0 to 1; for all of its answers"
    )
    signals: Signals | None = None

    @model_validator(mode="after")
    def _says_something(self) -> FeedbackItem:
        said = (self.thumb, self.rating, self.correction, self.comparison, self.comment)
        named = self.metrics or self.outcomes or (self.signals and _given(self.signals))
        if all(value is None for value in said) and not named:
            raise ValueError(
                "needs at least one of thumb, rating, correction, comparison, comment, metrics, outcomes, signals"
            )
        return self


@dataclass(frozen=True)
class Receipt:
    """When and where feedback came in, and the key that makes a repeat harmless."""

    now: datetime
    source: str
    idempotency_key: str | None = None


@dataclass(frozen=True)
class _Statement:
    kind: Kind
    name: str = ""
    value: float | None = None
    text: str | None = None


def to_events(ring: KeyRing, item: FeedbackItem, receipt: Receipt, rng: Random) -> tuple[FeedbackReceived, ...]:
    """One event for each statement of an item; a comparison becomes a won and a lost one.

    Raises TokenError when a token does not give the right to rate the answer that it is sent with, and ComparisonError
    when its two answers cannot be compared.
    """
    grant = _granted(ring, item.token, item.inference_id, item.choice, receipt.now)
    made = [_event(grant, statement, receipt, rng) for statement in _statements(item)]
    if item.comparison:
        other = item.comparison
        lost = _granted(ring, other.token, other.over, other.choice, receipt.now)
        if (lost.model, lost.inference_id, lost.choice) == (grant.model, grant.inference_id, grant.choice):
            raise ComparisonError("an answer cannot be compared with itself")
        if lost.model != grant.model:
            raise ComparisonError(f"answers of two models cannot be compared: {grant.model} and {lost.model}")
        made.append(_event(grant, _Statement("comparison", value=1.0), receipt, rng, lost))
        made.append(_event(lost, _Statement("comparison", value=0.0), receipt, rng, grant))
    return tuple(made)


def _granted(ring: KeyRing, token: str, inference_id: UUID, choice: int, now: datetime) -> Grant:
    grant = verify(ring, token, now)
    if (grant.inference_id, grant.choice) != (inference_id, choice):
        raise TokenError(f"the feedback token belongs to another answer than {inference_id} choice {choice}")
    return grant


def _statements(item: FeedbackItem) -> Iterator[_Statement]:
    if item.thumb is not None:
        yield _Statement("thumb", value=1.0 if item.thumb == "up" else 0.0)
    if item.rating is not None:
        yield _Statement("rating", value=float(item.rating))
    if item.correction is not None:
        yield _Statement("correction", text=item.correction)
    if item.comment is not None:
        yield _Statement("comment", text=item.comment)
    for name, value in sorted(item.metrics.items()):
        yield _Statement("metric", name=name, value=float(value))
    for name, value in sorted(item.outcomes.items()):
        yield _Statement("outcome", name=name, value=float(value))
    for name, value in sorted(_given(item.signals).items() if item.signals else ()):
        yield _Statement("signal", name=name, value=float(value))


def _given(signals: Signals) -> dict[str, float]:
    return signals.model_dump(exclude_none=True)


def _event(
    grant: Grant, statement: _Statement, receipt: Receipt, rng: Random, other: Grant | None = None
) -> FeedbackReceived:
    return FeedbackReceived(
        id=_identity(grant, statement, receipt, rng, other),
        time=receipt.now,
        source=receipt.source,
        inference_id=grant.inference_id,
        choice=grant.choice,
        model=grant.model,
        session=grant.session,
        subject=grant.subject,
        kind=statement.kind,
        name=statement.name,
        value=statement.value,
        text=statement.text,
        other_inference_id=other.inference_id if other else None,
        other_choice=other.choice if other else 0,
    )


def _identity(grant: Grant, statement: _Statement, receipt: Receipt, rng: Random, other: Grant | None) -> UUID:
    """With an idempotency key a repeat has the same id, so that it is counted once; without one each post is new."""
    if receipt.idempotency_key is None:
        return uuid7(receipt.now, rng)
    over = f"{other.inference_id}.{other.choice}" if other else ""
    kind = f"feedback:{receipt.idempotency_key}:{grant.choice}:{statement.kind}:{statement.name}:{over}"
    return derived_id(grant.inference_id, kind)
