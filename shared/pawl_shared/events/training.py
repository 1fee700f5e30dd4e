"""Training runs, and what became of their adapters."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from pawl_shared.events.base import MAX_INT, Digest, Event, Finite, Fraction, PolicyDigest, Value


class RetrainRequested(Event):
    """Train on this frozen snapshot."""

    TYPE = "pawl.training.requested.v1"

    model: str
    alarm: UUID | None = None
    dataset: Digest
    base: Digest
    parent: Digest | None = Field(default=None, description="adapter to start from; none: from the base")
    recipe: str = "auto"
    seed: int = 0
    counts: dict[str, int] = Field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    policy: PolicyDigest = None


class TrainingStarted(Event):
    TYPE = "pawl.training.started.v1"

    model: str
    run: UUID = Field(description="id of its RetrainRequested")
    device: str
    queued: int = Field(default=0, ge=0, le=MAX_INT, description="runs that wait behind it")


class TrainingProgressed(Event):
    TYPE = "pawl.training.progressed.v1"

    model: str
    run: UUID
    phase: str
    step: int = Field(ge=0, le=MAX_INT)
    total: int = Field(ge=0, le=MAX_INT)
    fraction: Fraction
    metrics: dict[str, Finite] = Field(default_factory=dict)
    eta_seconds: Finite | None = None


class TrainingFailed(Event):
    TYPE = "pawl.training.failed.v1"

    model: str
    run: UUID
    reason: str
    advice: str = ""


class AdapterTrained(Event):
    TYPE = "pawl.adapter.trained.v1"

    model: str
    run: UUID
    alarm: UUID | None = None
    adapter: Digest = Field(description="the trained adapter file; the version's name from now on")
    base: Digest
    parent: Digest | None = None
    dataset: Digest
    trained_on: Digest | None = Field(default=None, description="the feedback ids that took part, as an artifact")
    recipe: str
    reasons: tuple[str, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int
    libraries: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, Finite] = Field(default_factory=dict)
    seconds: Finite = Field(ge=0)


class GateResult(Value):
    """What one gate found."""

    gate: str
    passed: bool
    sentence: str
    numbers: dict[str, Finite] = Field(default_factory=dict)


class CandidateValidated(Event):
    TYPE = "pawl.candidate.validated.v1"

    model: str
    run: UUID
    adapter: Digest
    slot_file: Digest = Field(description="the adapter packed for the serving graph: what is served is what was tested")
    graph: Digest
    report: Digest
    gates: tuple[GateResult, ...]
    policy: PolicyDigest = None
    champion: Digest | None = Field(default=None, description="the version that it was measured beside")


class CandidateRejected(Event):
    TYPE = "pawl.candidate.rejected.v1"

    model: str
    run: UUID
    adapter: Digest
    report: Digest | None = None
    gates: tuple[GateResult, ...] = ()
    reasons: tuple[str, ...]
    policy: PolicyDigest = None
