"""What a decision to retrain is made from: the occasion, the feedback there is, and what is remembered of the loop."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["drift", "person", "schedule", "pairs"]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Usable(Frozen):
    """Feedback since the alarm's estimated start that a training run could use, by kind and split."""

    pairs: int = Field(default=0, ge=0, description="corrections and comparisons to train on")
    up: int = Field(default=0, ge=0, description="liked answers to train on")
    down: int = Field(default=0, ge=0, description="disliked answers to train on")
    heldout_pairs: int = Field(default=0, ge=0, description="corrections and comparisons to measure the candidate on")
    heldout_up: int = Field(default=0, ge=0, description="liked answers to measure the candidate on")
    heldout_down: int = Field(default=0, ge=0, description="disliked answers to measure the candidate on")

    @property
    def rows(self) -> int:
        """Everything that would be trained on."""
        return self.pairs + self.up + self.down


class Occasion(Frozen):
    """What asks for a run: an open alarm, or without one a person, the schedule, or new feedback."""

    kind: Kind = "drift"
    alarm: UUID | None
    since: datetime = Field(description="older feedback is left out of the snapshot")
    sentence: str
    cause: UUID | None = Field(default=None, description="the alarm, the person's command, or the tick")
    time: datetime | None = Field(default=None, description="of that event")
    recipe: str = Field(default="auto", description="that a person asked the next run for")


class PastRun(Frozen):
    """One run, as far as the budget is concerned."""

    run: UUID
    requested: datetime
    started: datetime | None = None
    device: str = ""
    seconds: float = 0.0


class TriggerState(Frozen):
    """What the policy remembers of a model's loop."""

    occasion: Occasion | None = None
    run: UUID | None = Field(default=None, description="the run in progress")
    candidate: str | None = Field(default=None, description="the version that passed the gates")
    waits: bool = Field(default=False, description="the candidate's canary is still to begin")
    ended: datetime | None = Field(default=None, description="when the last run ended")
    attempts: int = Field(default=0, description="runs asked for so far")
    rejections: int = Field(default=0, description="candidates refused or rolled back in a row")
    rejected_rows: int = Field(default=0, description="rows the last run was trained on")
    began: datetime | None = Field(default=None, description="when the schedule began to count: the first tick")
    requested: datetime | None = Field(default=None, description="when the last run was asked for")
    runs: tuple[PastRun, ...] = Field(default=(), description="those of the last seven days")
    paused: str = Field(default="", description="who paused the loop and why; empty: it is not paused")
