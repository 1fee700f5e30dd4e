"""The topics, once: what is on them, how they are keyed and how long they are kept (docs/adr, docs/architecture.md).

Partition counts are hard to change later, because a key's partition is a hash modulo their number: 8 for what grows
with traffic, 1 for control topics with a few records a day.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pawl_shared import events as e

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FOR_EVER = -1
# The largest record a client may send; a prompt of 32k tokens is some 150 KB, so 1 MiB leaves room.
MAX_RECORD_BYTES = 1 << 20


@dataclass(frozen=True)
class Topic:
    """One Kafka topic and the events on it."""

    name: str
    prose: str
    events: tuple[type[e.Event], ...]
    partitions: int = 1
    retention_ms: int = FOR_EVER
    compacted: bool = False
    internal: bool = False
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, str]:
        """The topic's settings, as Kafka names them."""
        policy = {"cleanup.policy": "compact" if self.compacted else "delete"}
        kept = {} if self.compacted else {"retention.ms": str(self.retention_ms)}
        stamp = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(MAX_RECORD_BYTES + 65_536)}
        return policy | kept | stamp | self.extra


INFERENCES = Topic("pawl.inferences", "what apps asked and models answered", (e.InferenceLogged,), 8, 7 * DAY_MS)
FEEDBACK = Topic("pawl.feedback", "what people thought of it", (e.FeedbackReceived,), 8, 7 * DAY_MS)
INTERACTIONS = Topic(
    "pawl.interactions", "both joined and scored, as revisions", (e.InteractionScored,), 8, 42 * DAY_MS
)
EVIDENCE = Topic("pawl.evidence", "one observation a session, no text; time", (e.SessionObserved, e.Tick), 8)
DRIFT = Topic(
    "pawl.drift",
    "alarms, their end, and what people are asked to judge",
    (e.DriftDetected, e.DriftAssessed, e.DriftResolved, e.ReviewRequested),
)
TRAINING = Topic(
    "pawl.training",
    "training runs",
    (e.RetrainRequested, e.TrainingStarted, e.TrainingProgressed, e.TrainingFailed),
    retention_ms=180 * DAY_MS,
)
CANDIDATES = Topic(
    "pawl.candidates", "adapters and the gates' verdicts", (e.AdapterTrained, e.CandidateValidated, e.CandidateRejected)
)
MODELS = Topic(
    "pawl.models",
    "the registry: versions, their stages, how they do live",
    (
        e.ModelRegistered,
        e.StageChanged,
        e.ApprovalChanged,
        e.VersionObserved,
        e.CanaryObserved,
        e.ExperimentObserved,
    ),
)
DEPLOYMENTS = Topic("pawl.deployments", "who serves: history and audit, not compacted", (e.DeploymentChanged,))
REPLICAS = Topic("pawl.replicas", "where each replica is", (e.ReplicaReported,), compacted=True)
COMMANDS = Topic(
    "pawl.commands",
    "what people and programs ask for, with who and why",
    (
        e.RegisterModelCommand,
        e.ConfigureModelCommand,
        e.PromoteCommand,
        e.ApproveCommand,
        e.RollbackCommand,
        e.RetrainCommand,
        e.PauseCommand,
        e.PinCommand,
        e.StartExperimentCommand,
        e.StopExperimentCommand,
        e.RetryDeadLettersCommand,
    ),
)
# Erased for good within two days: a day until the tombstone's segment is closed and cleaned, as long for the next one.
# Tombstones stay for 30 days, so that a reader that was away for less still meets them.
KEYS = Topic(
    "pawl.keys",
    "keys of sealed text, wrapped; the loss of a key is the erasure",
    (e.DataKeyCreated,),
    8,
    compacted=True,
    extra={"max.compaction.lag.ms": str(DAY_MS), "delete.retention.ms": str(30 * DAY_MS)},
)
DEAD_LETTERS = Topic(
    "pawl.dead-letters",
    "what could not be read or handled, with its reason",
    (e.DeadLetter,),
    retention_ms=21 * DAY_MS,
    extra={"retention.bytes": str(1 << 30)},
)


def names(*topics: Topic) -> tuple[str, ...]:
    """As folds say what they read."""
    return tuple(topic.name for topic in topics)


def state_topic(service: str) -> Topic:
    """Where a service that commits by Kafka transactions keeps its state: compacted, one record a key."""
    # All of it is read at every start: within a day, what was replaced or forgotten is gone.
    lag = {"max.compaction.lag.ms": str(DAY_MS)}
    return Topic(
        f"pawl.internal.{service}-state", f"state of the {service}", (), 1, compacted=True, internal=True, extra=lag
    )


VALIDATOR_STATE = state_topic("validator")
TRAINER_STATE = state_topic("trainer")
# The changelog of Faust's table, under the name that Faust gives it. Faust itself would make it with one copy on any
# cluster.
STREAMS_STATE = Topic("pawl-streams-answers-changelog", "state of the joins", (), 8, compacted=True, internal=True)

TOPICS: tuple[Topic, ...] = (
    INFERENCES,
    FEEDBACK,
    INTERACTIONS,
    EVIDENCE,
    DRIFT,
    TRAINING,
    CANDIDATES,
    MODELS,
    DEPLOYMENTS,
    REPLICAS,
    COMMANDS,
    KEYS,
    DEAD_LETTERS,
    VALIDATOR_STATE,
    TRAINER_STATE,
    STREAMS_STATE,
)
BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
_TOPIC_OF: dict[type[e.Event], Topic] = {event: topic for topic in TOPICS for event in topic.events}


def topic_of(event: e.Event | type[e.Event]) -> Topic:
    """The one topic on which an event is published."""
    return _TOPIC_OF[event if isinstance(event, type) else type(event)]
