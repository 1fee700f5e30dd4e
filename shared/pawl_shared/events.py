"""Every event of Pawl, once. Frozen; times are UTC; unknown fields are ignored on read, so changes can be additive.

An event's envelope (id, time, source, cause) travels as CloudEvents attributes in Kafka headers; its other fields are
the JSON value. `docs/asyncapi.yaml` is generated from this module. Adding one: docs in CONTRIBUTING.md.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("in UTC it is before year 1 or after 9999") from error


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_utc)]
# No column holds more: a store that fails on one event would hold up all that follow.
MAX_INT, MAX_LONG = 2**31 - 1, 2**63 - 1
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of an artifact, in hex")]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
SealedText = Annotated[str, Field(description="sealed with a key of its subject; plain in events of before that")]
Arm = Literal["champion", "challenger", "pinned"]
Stage = Literal["candidate", "validated", "canary", "champion", "retired", "rejected"]

# What the envelope carries; everything else is the value.
ENVELOPE = frozenset({"id", "time", "source", "cause"})


class Value(BaseModel):
    """A part of an event."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Event(Value):
    """What all events share."""

    TYPE: ClassVar[str] = ""
    KEY: ClassVar[str] = "model"

    id: UUID
    time: UtcDatetime
    source: str = Field(min_length=1, max_length=200, description="the service instance that published it")
    cause: UUID | None = Field(default=None, description="id of the event that brought this one about")

    @property
    def key(self) -> str:
        """The Kafka key: everything with one key is ordered."""
        return str(getattr(self, self.KEY))


class Message(Value):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: SealedText


class Interval(Value):
    """A rate with its confidence interval."""

    point: Fraction
    low: Fraction
    high: Fraction
    n: int = Field(ge=0, le=MAX_INT, description="sessions behind it")


# ---------------------------------------------------------------- what happened between app and model


class Sampling(Value):
    """How an answer was drawn."""

    temperature: Finite = 1.0
    top_p: Finite = 1.0
    max_tokens: Annotated[int, Field(ge=0, le=MAX_INT)] | None = None
    seed: Annotated[int, Field(ge=-MAX_LONG - 1, le=MAX_LONG)] | None = None
    stop: tuple[str, ...] = ()


class InferenceLogged(Event):
    """One answer, exactly as it was given."""

    TYPE = "pawl.inference.logged.v1"
    KEY = "session"

    inference_id: UUID
    choice: int = Field(default=0, ge=0, le=MAX_INT)
    model: str
    session: str
    subject: str | None = Field(default=None, description="keyed hash of the app's user id")
    messages: tuple[Message, ...]
    answer: SealedText
    answer_words: int | None = Field(default=None, ge=0, le=MAX_INT, description="counted before the answer was sealed")
    finish_reason: Literal["stop", "length", "cancelled"]
    arm: Arm
    version: Digest = Field(description="base or adapter digest that answered")
    canary: UUID | None = None
    revision: int = Field(ge=0, le=MAX_INT, description="deployment revision that was applied")
    template_version: str = Field(default="", description="digest of the chat template")
    sampling: Sampling = Sampling()
    prompt_tokens: int = Field(ge=0, le=MAX_INT)
    answer_tokens: int = Field(ge=0, le=MAX_INT)
    first_token_seconds: Finite = Field(ge=0)
    total_seconds: Finite = Field(ge=0)
    metadata: dict[str, str] = Field(default_factory=dict, description="the app's own tags, readable for all")

    @property
    def words(self) -> int:
        """Words of the answer; nobody needs a key to know them."""
        return len(self.answer.split()) if self.answer_words is None else self.answer_words


class FeedbackReceived(Event):
    """One statement about one answer. A comparison arrives as two of them, one won and one lost; an outcome is said of
    one answer and counts for its whole session."""

    TYPE = "pawl.feedback.received.v1"
    KEY = "session"

    inference_id: UUID
    choice: int = Field(default=0, ge=0, le=MAX_INT)
    model: str
    session: str
    subject: str | None = None
    kind: Literal["thumb", "rating", "correction", "comparison", "comment", "signal", "metric", "outcome"]
    name: str = Field(default="", max_length=100, description="of the signal, metric or outcome")
    value: Finite | None = Field(
        default=None, description="thumb, comparison: 1 or 0; rating: 1-5; outcome: from 0 to 1; else a number"
    )
    text: SealedText | None = Field(default=None, description="the correction or comment, sealed like the answer")
    other_inference_id: UUID | None = Field(default=None, description="the answer it was compared with")
    via: Literal["edge", "kafka"] = Field(
        default="edge", description="who checked its token: inference, or streams for what was sent straight to Kafka"
    )


class InteractionScored(Event):
    """A revision of what is known of one answer: text with its first revision, feedback with the later ones. Revisions
    of one number say the same of it. One without text and feedback: what was said of the session changed its reward."""

    TYPE = "pawl.interaction.scored.v1"
    KEY = "session"

    inference_id: UUID
    choice: int = Field(default=0, ge=0, le=MAX_INT)
    model: str
    session: str
    revision: int = Field(
        ge=0, le=MAX_INT, description="grows with what is known of the answer; 0: came too late to count"
    )
    inference: InferenceLogged | None = Field(default=None, description="in the revision of its arrival")
    feedback: FeedbackReceived | None = Field(default=None, description="the feedback of this revision")
    reward: Fraction | None = Field(default=None, description="of all feedback so far, by policy; none without any")
    rated: bool = False
    joined: bool = Field(default=True, description="false: feedback whose inference is not known (yet)")
    reason: str = Field(default="", description="why it is not joined")
    language: str | None = Field(default=None, description="of the last prompt, ISO 639; with the inference")
    answer_language: str | None = Field(default=None, description="of the answer; none: nobody can tell")
    statistics: dict[str, Finite] = Field(
        default_factory=dict, description="of the inference's texts: turns, words and characters of prompt and answer"
    )
    scrubbed: dict[str, int] = Field(
        default_factory=dict, description="personal data that was replaced in this revision's texts, by kind"
    )


# ---------------------------------------------------------------- evidence: no text


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
    statistics: dict[str, Finite] = Field(default_factory=dict, description="means over its answers, e.g. words")
    started: UtcDatetime
    ended: UtcDatetime


class Tick(Event):
    """Time passes: idleness and schedules advance by these alone, so that a replay sees the same time."""

    TYPE = "pawl.tick.v1"

    model: str
    number: int = Field(ge=0, le=MAX_LONG, description="counts intervals since the epoch, which may be short")


# ---------------------------------------------------------------- drift


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


class DriftResolved(Event):
    """An alarm closed by what the new champion's evidence says."""

    TYPE = "pawl.drift.resolved.v1"

    model: str
    alarm: UUID
    now: Interval
    sentence: str


# ---------------------------------------------------------------- training


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


# ---------------------------------------------------------------- candidates


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


class CandidateRejected(Event):
    TYPE = "pawl.candidate.rejected.v1"

    model: str
    run: UUID
    adapter: Digest
    report: Digest | None = None
    gates: tuple[GateResult, ...] = ()
    reasons: tuple[str, ...]


# ---------------------------------------------------------------- registry and deployment


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
    """How a version does live, back from the monitor."""

    TYPE = "pawl.version.observed.v1"
    KEY = "version"

    model: str
    version: Digest
    approval: Interval
    seconds: dict[str, Finite] = Field(default_factory=dict, description="latency quantiles")


class DeployedVersion(Value):
    """All that a replica needs to serve a version."""

    version: Digest
    base: Digest
    graph: Digest
    slot_file: Digest | None = Field(default=None, description="none: the base itself")


class DeploymentChanged(Event):
    TYPE = "pawl.deployment.changed.v1"

    model: str
    revision: int = Field(ge=1, le=MAX_INT)
    champion: DeployedVersion
    challenger: DeployedVersion | None = None
    share: Fraction = 0.0
    canary: UUID | None = None
    change: Literal["registered", "canary", "step", "promoted", "rolled-back", "paused", "resumed"]
    reasons: tuple[str, ...] = ()
    numbers: dict[str, Finite] = Field(default_factory=dict)
    who: str = "pawl"


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
    applied: dict[str, int] = Field(default_factory=dict, description="deployment revision by model")
    slots: dict[str, str] = Field(default_factory=dict, description="version by slot")
    healthy: bool
    problems: tuple[str, ...] = ()
    url: str = ""


# ---------------------------------------------------------------- commands


class Command(Event):
    """Somebody wants something."""

    model: str
    who: str = Field(min_length=1, max_length=200)
    why: str = ""


class RegisterModelCommand(Command):
    TYPE = "pawl.command.register-model.v1"

    base: str = Field(description="hub id, local folder, GGUF file, or a built-in name")
    precision: Literal["int8", "fp32"] = "int8"


class PromoteCommand(Command):
    TYPE = "pawl.command.promote.v1"

    version: Digest


class RollbackCommand(Command):
    TYPE = "pawl.command.rollback.v1"


class RetrainCommand(Command):
    TYPE = "pawl.command.retrain.v1"

    recipe: str = "auto"


class PauseCommand(Command):
    TYPE = "pawl.command.pause.v1"

    paused: bool = True


# ---------------------------------------------------------------- keys of sealed text


class DataKeyCreated(Event):
    """A data key, wrapped by a master key. A record of the same key without a value erases it, and all it sealed."""

    TYPE = "pawl.key.created.v1"
    KEY = "name"

    name: str = Field(pattern=r"^[\s\S]+/[0-9a-f]{32}$", description="whose texts it seals, a slash, and the key's id")
    wrapped: str = Field(description="base64: nonce and AES-256-GCM of the key; associated data is the name")
    master: str = Field(description="id of the master key that wrapped it")


# ---------------------------------------------------------------- dead letters


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


def _all() -> dict[str, type[Event]]:
    found: dict[str, type[Event]] = {}
    pending: list[type[Event]] = list(Event.__subclasses__())
    while pending:
        cls = pending.pop()
        pending.extend(cls.__subclasses__())
        if cls.TYPE:
            found[cls.TYPE] = cls
    return dict(sorted(found.items()))


EVENT_TYPES: dict[str, type[Event]] = _all()
