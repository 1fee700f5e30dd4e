"""Every event of Pawl, once. Frozen; times are UTC; unknown fields are ignored on read, so changes can be additive.

An event's envelope (id, time, source, cause) travels as CloudEvents attributes in Kafka headers; its other fields are
the JSON value. `docs/asyncapi.yaml` is generated from this package. Adding one: docs in CONTRIBUTING.md.
"""

from __future__ import annotations

from pawl_shared.events.base import (
    ENVELOPE,
    MAX_INT,
    MAX_LONG,
    Arm,
    Digest,
    Event,
    Finite,
    Fraction,
    Interval,
    SealedText,
    Sketch,
    Stage,
    UtcDatetime,
    Value,
)
from pawl_shared.events.commands import (
    ApproveCommand,
    Command,
    ConfigureModelCommand,
    PauseCommand,
    PinCommand,
    PromoteCommand,
    RegisterModelCommand,
    RetrainCommand,
    RollbackCommand,
)
from pawl_shared.events.dead_letters import DeadLetter, RetryDeadLettersCommand
from pawl_shared.events.deployment import (
    ApprovalChanged,
    CanaryObserved,
    DeployedVersion,
    DeploymentChanged,
    Experiment,
    ExperimentArm,
    ModelRegistered,
    ReplicaReported,
    StageChanged,
    VersionObserved,
)
from pawl_shared.events.evidence import (
    Advice,
    DriftAssessed,
    DriftDetected,
    DriftResolved,
    PromptCluster,
    ReviewItem,
    ReviewRequested,
    SessionObserved,
    Tick,
)
from pawl_shared.events.experiments import (
    ArmCompared,
    ArmObserved,
    ExperimentObserved,
    StartExperimentCommand,
    StopExperimentCommand,
)
from pawl_shared.events.interactions import (
    FeedbackReceived,
    InferenceLogged,
    InteractionScored,
    Message,
    Sampling,
)
from pawl_shared.events.keys import DataKeyCreated
from pawl_shared.events.training import (
    AdapterTrained,
    CandidateRejected,
    CandidateValidated,
    GateResult,
    RetrainRequested,
    TrainingFailed,
    TrainingProgressed,
    TrainingStarted,
)

__all__ = [
    "ENVELOPE",
    "EVENT_TYPES",
    "MAX_INT",
    "MAX_LONG",
    "AdapterTrained",
    "Advice",
    "ApprovalChanged",
    "ApproveCommand",
    "Arm",
    "ArmCompared",
    "ArmObserved",
    "CanaryObserved",
    "CandidateRejected",
    "CandidateValidated",
    "Command",
    "ConfigureModelCommand",
    "DataKeyCreated",
    "DeadLetter",
    "DeployedVersion",
    "DeploymentChanged",
    "Digest",
    "DriftAssessed",
    "DriftDetected",
    "DriftResolved",
    "Event",
    "Experiment",
    "ExperimentArm",
    "ExperimentObserved",
    "FeedbackReceived",
    "Finite",
    "Fraction",
    "GateResult",
    "InferenceLogged",
    "InteractionScored",
    "Interval",
    "Message",
    "ModelRegistered",
    "PauseCommand",
    "PinCommand",
    "PromoteCommand",
    "PromptCluster",
    "RegisterModelCommand",
    "ReplicaReported",
    "RetrainCommand",
    "RetrainRequested",
    "RetryDeadLettersCommand",
    "ReviewItem",
    "ReviewRequested",
    "RollbackCommand",
    "Sampling",
    "SealedText",
    "SessionObserved",
    "Sketch",
    "Stage",
    "StageChanged",
    "StartExperimentCommand",
    "StopExperimentCommand",
    "Tick",
    "TrainingFailed",
    "TrainingProgressed",
    "TrainingStarted",
    "UtcDatetime",
    "Value",
    "VersionObserved",
]


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
