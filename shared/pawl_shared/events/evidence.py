"""What decisions are made from, and the alarms that it raises. No text: a replay survives every erasure."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from pawl_shared.events.base import (
    MAX_INT,
    MAX_LONG,
    Arm,
    Digest,
    Event,
    Finite,
    Fraction,
    Interval,
    PolicyDigest,
    Sketch,
    UtcDatetime,
    Value,
)


class SessionObserved(Event):
    """One session, closed: the unit of every statistical decision."""

    TYPE = "pawl.session.observed.v1"

    model: str
    session: str
    subject: str | None = None
    arm: Arm
    version: Digest
    canary: UUID | None = None
    revision: int = Field(ge=0, le=MAX_INT)
    reward: Fraction | None = Field(default=None, description="mean over its rated answers; none when nobody rated")
    answers: int = Field(ge=1, le=MAX_INT)
    rated: int = Field(ge=0, le=MAX_INT)
    statistics: dict[str, Finite] = Field(
        default_factory=dict,
        description="means over its answers, e.g. words; metric/NAME: over those for which the app reported one",
    )
    prompt_sketch: Sketch = Field(default="", description="of its first prompt: what people ask before any answer")
    experiment: UUID | None = None
    experiment_arm: str = ""
    tags: dict[str, str] = Field(default_factory=dict, description="metadata of its first request")
    language: str | None = Field(default=None, description="of its first prompt, ISO 639")
    started: UtcDatetime
    ended: UtcDatetime


class Tick(Event):
    """Time passes: idleness and schedules advance by these alone, so that a replay sees the same time."""

    TYPE = "pawl.tick.v1"

    model: str
    number: int = Field(ge=0, le=MAX_LONG, description="counts intervals since the epoch, which may be short")
    behind: int | None = Field(
        default=None, ge=0, le=MAX_LONG, description="records that the monitor had yet to read when it wrote this"
    )


class PromptCluster(Value):
    """Prompts of like words: their share of all sessions, and what people thought of them, before and after."""

    before: Interval
    after: Interval
    moved: bool = Field(description="whether both intervals of its share lie apart")
    approval_before: Interval | None = Field(default=None, description="of its rated sessions; none: nobody rated one")
    approval_after: Interval | None = None
    examples: tuple[UUID, ...] = Field(default=(), description="its most typical answers (their inference_id)")


class Advice(Value):
    """What is the likelier cure of what an alarm tells, and why."""

    cure: Literal["train", "prompt", "infrastructure", "review", "none"]
    sentence: str


class DriftDetected(Event):
    """An alarm, explained."""

    TYPE = "pawl.drift.detected.v1"

    model: str
    detector: str
    direction: Literal["drop", "rise", "drift"]
    version: Digest
    since: UtcDatetime = Field(description="the start that maximises the evidence")
    before: Interval
    after: Interval
    sessions: int = Field(ge=0, le=MAX_INT, description="observations since the reference began")
    evidence: Finite
    threshold: Finite
    sentence: str
    policy: PolicyDigest = None
    statistic: str = Field(default="approval", description="whose rate moved, or of which sessions the share did")
    rated_before: Interval | None = Field(default=None, description="share of sessions that people rated")
    rated_after: Interval | None = None
    deployments: tuple[UUID, ...] = Field(default=(), description="from a day before its start on")
    examples: tuple[UUID, ...] = Field(default=(), description="answers (their inference_id) that show it, the latest")
    clusters: tuple[PromptCluster, ...] = Field(
        default=(), description="groups of prompts, the one that grew most first; none: too few sessions to tell"
    )
    advice: Advice | None = None

    @property
    def fell(self) -> bool:
        """Whether approval fell: the one alarm that asks for a run and stays open. The others are news."""
        return self.direction == "drop" and self.detector.startswith("approval")


class DriftResolved(Event):
    """An alarm closed by what the new champion's evidence says."""

    TYPE = "pawl.drift.resolved.v1"

    model: str
    alarm: UUID
    now: Interval
    sentence: str
    policy: PolicyDigest = None


class DriftAssessed(Event):
    """What an alarm turned out to be, once enough sessions had come: its groups of prompts and its advice, anew."""

    TYPE = "pawl.drift.assessed.v1"

    model: str
    alarm: UUID
    sessions: int = Field(ge=0, le=MAX_INT, description="since it began")
    clusters: tuple[PromptCluster, ...] = ()
    advice: Advice
    policy: PolicyDigest = None


class ReviewItem(Value):
    """One answer that a person is asked to judge."""

    inference_id: UUID
    cluster: int = Field(ge=0, le=MAX_INT, description="its place among the alarm's clusters; 0 where it has none")


class ReviewRequested(Event):
    """An alarm that few people's feedback explains asks for some: answers drawn at random since it began, in the order
    in which they are to be judged, so that any first part of them is a random sample as well."""

    TYPE = "pawl.review.requested.v1"

    model: str
    alarm: UUID
    version: Digest
    since: UtcDatetime
    items: tuple[ReviewItem, ...] = Field(min_length=1, max_length=1000)
    population: int = Field(ge=1, le=MAX_INT, description="sessions that they were drawn from")
    rated: int = Field(ge=0, le=MAX_INT, description="of these, by those who asked")
    sentence: str
    policy: PolicyDigest = None
