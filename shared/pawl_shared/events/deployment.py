"""The registry of versions, and who serves."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from pawl_shared.events.base import (
    MAX_INT,
    Digest,
    Event,
    Finite,
    Fraction,
    Interval,
    PolicyDigest,
    Stage,
    UtcDatetime,
    Value,
)


class ModelRegistered(Event):
    TYPE = "pawl.model.registered.v1"
    KEY = "version"

    model: str
    version: Digest
    kind: Literal["base", "adapter"]
    name: str = ""
    base: Digest
    graph: Digest
    slot_file: Digest | None = None
    parent: Digest | None = None
    dataset: Digest | None = None
    run: UUID | None = None
    alarm: UUID | None = None
    card: Digest | None = None
    report: Digest | None = None
    licence: str = ""
    precision: Literal["", "int8", "fp16", "fp32"] = Field(default="", description="of a base's serving graph")
    fidelity: dict[str, Finite] = Field(
        default_factory=dict,
        description="of that graph to fp32: kl_mean and kl_max (nats), top1 (share of positions), positions",
    )


class StageChanged(Event):
    TYPE = "pawl.model.stage-changed.v1"
    KEY = "version"

    model: str
    version: Digest
    before: Stage | None = None
    stage: Stage
    reasons: tuple[str, ...] = ()
    who: str = "pawl"


class VersionObserved(Event):
    """How a version does live, in all sessions that it was drawn for so far; back from the monitor."""

    TYPE = "pawl.version.observed.v1"
    KEY = "version"

    model: str
    version: Digest
    approval: Interval = Field(description="over its rated sessions; 0 in 0 to 1 when there is none")
    seconds: dict[str, Finite] = Field(
        default_factory=dict,
        description="quantiles over its sessions: p50, p95 of a whole answer, first_token_p50, first_token_p95",
    )
    sessions: int = Field(default=0, ge=0, le=MAX_INT)
    rated_share: Interval | None = Field(default=None, description="share of its sessions that people rated")
    since: UtcDatetime | None = Field(default=None, description="when its first session began")
    until: UtcDatetime | None = Field(default=None, description="when its latest session ended")


class ApprovalChanged(Event):
    """A version waits for a person's approval, or does not any more."""

    TYPE = "pawl.model.approval-changed.v1"
    KEY = "version"

    model: str
    version: Digest
    step: Literal["canary", "promotion"] = Field(description="what a person is asked to allow")
    state: Literal["requested", "approved", "rejected", "withdrawn"] = Field(
        description="withdrawn: it was overtaken by something else, which the reasons name"
    )
    run: UUID | None = None
    report: Digest | None = Field(default=None, description="the gates' report")
    reasons: tuple[str, ...] = ()
    who: str = "pawl"
    policy: PolicyDigest = None


class DeployedVersion(Value):
    """All that a replica needs to serve a version."""

    version: Digest
    base: Digest
    graph: Digest
    slot_file: Digest | None = Field(default=None, description="none: the base itself")
    run: UUID | None = Field(default=None, description="the training run that made it; none: a base")


class ExperimentArm(Value):
    """One arm, ready to be served. What is None is as without an experiment."""

    name: str
    share: Fraction
    served: DeployedVersion
    temperature: Finite | None = None
    top_p: Finite | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MAX_INT)] | None = None
    system: str | None = Field(default=None, description="put before the conversation")

    @property
    def sets(self) -> bool:
        """Whether it changes anything but the version."""
        return (self.temperature, self.top_p, self.max_tokens, self.system) != (None, None, None, None)


class Experiment(Value):
    """A running experiment. A session's arm is drawn by hash(id, session); the first arm is the control."""

    id: UUID
    name: str
    arms: tuple[ExperimentArm, ...] = Field(min_length=2)
    alpha: Fraction
    limit_sessions: int | None = Field(default=None, ge=1, le=MAX_INT)
    limit_hours: Finite | None = Field(default=None, gt=0)


class DeploymentChanged(Event):
    TYPE = "pawl.deployment.changed.v1"

    model: str
    revision: int = Field(ge=1, le=MAX_INT)
    champion: DeployedVersion
    challenger: DeployedVersion | None = None
    share: Fraction = 0.0
    canary: UUID | None = None
    change: Literal[
        "registered", "canary", "step", "promoted", "rolled-back", "paused", "resumed", "pinned", "unpinned",
        "experiment", "experiment-over",
    ]  # fmt: skip
    reasons: tuple[str, ...] = ()
    numbers: dict[str, Finite] = Field(default_factory=dict)
    who: str = "pawl"
    policy: PolicyDigest = None
    pinned: Digest | None = Field(default=None, description="the champion, when the model is to stay on it")
    experiment: Experiment | None = Field(default=None, description="never beside a canary")


class CanaryObserved(Event):
    """Where a canary stands, for people who watch it; the decision itself is a DeploymentChanged."""

    TYPE = "pawl.canary.observed.v1"
    KEY = "version"

    model: str
    version: Digest = Field(description="the challenger")
    canary: UUID
    champion: Interval
    challenger: Interval
    promote_evidence: Finite
    promote_threshold: Finite
    rollback_evidence: Finite
    rollback_threshold: Finite


class ReplicaReported(Event):
    TYPE = "pawl.replica.reported.v1"
    KEY = "replica"

    replica: str
    applied: dict[str, int] = Field(default_factory=dict, description="deployment revision by model; 0: tried in vain")
    slots: dict[str, str] = Field(default_factory=dict, description="version by slot")
    healthy: bool
    problems: tuple[str, ...] = ()
    url: str = ""
    stopped: bool = Field(default=False, description="it has ended, as it was told to: nobody waits for it")
