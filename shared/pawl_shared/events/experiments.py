"""Experiments: what people compare, and what is seen of it. Nothing is promoted by one."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field, model_validator

from pawl_shared.events.base import MAX_INT, Digest, Event, Finite, Fraction, Interval, Value
from pawl_shared.events.commands import Command
from pawl_shared.policies.experiment_spec import ExperimentSpec


class StartExperimentCommand(Command):
    """Compare these arms from now on. Its id makes the experiment's."""

    TYPE = "pawl.command.start-experiment.v1"

    experiment: ExperimentSpec

    @model_validator(mode="after")
    def _of_its_model(self) -> StartExperimentCommand:
        if self.experiment.model != self.model:
            raise ValueError(f"an experiment with {self.experiment.model} cannot run with {self.model}")
        return self


class StopExperimentCommand(Command):
    """End the experiment that runs; the champion alone answers again."""

    TYPE = "pawl.command.stop-experiment.v1"


class ArmObserved(Value):
    """One arm so far."""

    arm: str
    version: Digest
    share: Fraction
    sessions: int = Field(ge=0, le=MAX_INT)
    rated: Interval = Field(description="share of its sessions that people rated")
    approval: Interval = Field(description="mean reward of its rated sessions")
    means: dict[str, Finite] = Field(default_factory=dict, description="of other numbers of its sessions, plain")


class ArmCompared(Value):
    """Approval of an arm less that of the control, over blocks of rated sessions in the order of their arrival."""

    arm: str
    control: str
    blocks: int = Field(ge=0, le=MAX_INT)
    difference: Finite
    low: Finite
    high: Finite


class ExperimentObserved(Event):
    """Where an experiment stands: intervals that hold at any time, however often one looks (docs/experiments.md)."""

    TYPE = "pawl.experiment.observed.v1"
    KEY = "version"

    model: str
    version: Digest = Field(description="that of the control")
    experiment: UUID
    name: str
    alpha: Fraction = Field(description="bound on P(any interval of a kind ever misses)")
    sessions: int = Field(ge=0, le=MAX_INT)
    arms: tuple[ArmObserved, ...]
    compared: tuple[ArmCompared, ...]
    warnings: tuple[str, ...] = ()
    over: bool = False
