"""What can go wrong in a run. Each says what happened (reason) and what to do (advice); the child hands both on.

ChildFailedError
└── TrainerError
    ├── SnapshotError       the dataset is missing, damaged or of another shape
    ├── NotEnoughDataError  no recipe can learn from what there is
    ├── BaseUnusableError   the base model or parent adapter cannot be trained
    ├── DivergedError       the loss is NaN or infinite
    ├── NothingLearntError  the adapter is identical to the start
    ├── OutOfMemoryError    also with the smaller micro-batch
    └── DiskFullError       no room for the adapter or the caches
"""

from pawl_shared.errors import ChildFailedError


class TrainerError(ChildFailedError):
    """Base of all; `ADVICE` is a sentence for the person who runs Pawl."""

    ADVICE = "Look at the log of the run for the cause, then ask for retraining again."

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason, advice or self.ADVICE)


class SnapshotError(TrainerError):
    """The dataset is missing, damaged or of another shape."""

    ADVICE = "Ask for retraining again to get a new snapshot; if it fails again, update monitor and trainer together."


class NotEnoughDataError(TrainerError):
    """No recipe can learn from what there is; the advice says what is missing."""


class BaseUnusableError(TrainerError):
    """The base model or the parent adapter cannot be trained."""

    ADVICE = "Register a base that transformers loads as a causal language model and that has a chat template."


class DivergedError(TrainerError):
    """The loss is NaN or infinite."""

    ADVICE = "Lower PAWL_LEARNING_RATE or set PAWL_PRECISION=fp32, then ask for retraining again."


class NothingLearntError(TrainerError):
    """The adapter is identical to the start."""

    ADVICE = "Raise PAWL_LEARNING_RATE, or collect feedback that tells answers apart, then retrain."


class OutOfMemoryError(TrainerError):
    """There is too little memory, also with the smaller micro-batch."""

    ADVICE = "Give the trainer more memory, lower PAWL_MAX_LENGTH, or use a smaller base model."


class DiskFullError(TrainerError):
    """There is no room for the adapter or the caches."""

    ADVICE = "Free some space in PAWL_DATA_DIR, then ask for retraining again."
