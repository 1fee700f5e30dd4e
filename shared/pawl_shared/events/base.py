"""What all events share: the envelope, and the types of their fields."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal
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
PolicyDigest = Annotated[
    Digest | None, Field(description="of the policy that it was decided under; none: nothing was configured")
]
Sketch = Annotated[
    str, Field(pattern=r"^(?:[A-Za-z0-9+/]{32})?$", description="24 numbers that say what a prompt is about, base64")
]
SealedText = Annotated[str, Field(description="sealed with a key of its subject; plain in events of before that")]
# "experiment": an arm of an experiment that differs from the plain champion in anything. "external": another provider
# answered, and the app told of it.
Arm = Literal["champion", "challenger", "pinned", "experiment", "external"]
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


class Interval(Value):
    """A rate with its confidence interval."""

    point: Fraction
    low: Fraction
    high: Fraction
    n: int = Field(ge=0, le=MAX_INT, description="sessions behind it")
