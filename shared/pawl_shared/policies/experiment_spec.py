"""What an experiment compares: the content of its YAML file, and of the command that starts it.

An arm may serve another version, draw its answers in another way, or put a system prompt before the conversation. The
first arm is the control: the others are compared with it. What the shares leave over is answered by the champion as
without an experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, field_validator

from pawl_shared.policies.values import DEFAULT_MODEL, Level, Section

MIN_ARMS, MAX_ARMS = 2, 8
# All arms travel in one record, and inference puts the prompt into every request of its arm.
MAX_SYSTEM = 8_000
# Shares that are written with two digits, such as .33 + .33 + .34, add up to 1 only nearly.
ROUNDING = 1e-9

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]


class ArmSpec(Section):
    """One arm. Settings are for what a request leaves open: what an app asks for explicitly holds in every arm."""

    share: float = Field(ge=0.01, le=0.99, description="part of the sessions that it answers")
    version: str = Field(
        default="champion",
        pattern=r"^(champion|base|[0-9a-f]{6,64})$",
        description="`champion`, `base`, or the first hex digits (six or more) of a version that passed the gates",
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="where the request names none; null: as without an experiment"
    )
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="where the request names none; null: as without an experiment"
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="where the request names none; null: as without an experiment"
    )
    system: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_SYSTEM,
        description="system prompt put before the conversation; before the app's own where there is one; null: none",
    )


class ExperimentSpec(Section):
    """All of an experiment's file."""

    name: Name = Field(description="what it is called: small letters, digits, - and _")
    model: str = Field(
        default=DEFAULT_MODEL,
        pattern=r"^[^\s/]+/[^\s/]+$",
        description="the route name that apps ask for, with its tenant",
    )
    arms: Mapping[Name, ArmSpec] = Field(
        min_length=MIN_ARMS, max_length=MAX_ARMS, description="what is compared, by name; the first is the control"
    )
    alpha: Level = Field(
        default=0.05, description="bound on P(any interval of a kind ever misses), over all arms and all looks"
    )
    limit_sessions: int | None = Field(default=None, gt=0, description="sessions after which it ends; null: no limit")
    limit_hours: float | None = Field(
        default=336.0, gt=0, le=87_600, description="hours of event time after which it ends; null: no limit"
    )

    @field_validator("arms")
    @classmethod
    def _shares_add_up(cls, arms: Mapping[str, ArmSpec]) -> Mapping[str, ArmSpec]:
        total = sum(arm.share for arm in arms.values())
        if total > 1 + ROUNDING:
            raise ValueError(f"the shares add up to {total:g}: at most 1 is possible")
        return arms

    @field_validator("arms")
    @classmethod
    def _differ(cls, arms: Mapping[str, ArmSpec]) -> Mapping[str, ArmSpec]:
        seen: dict[ArmSpec, str] = {}
        for name, arm in arms.items():
            same = arm.model_copy(update={"share": 0.5})
            if same in seen:
                raise ValueError(f"{name} is the same as {seen[same]}: let them differ in something, or leave one out")
            seen[same] = name
        return arms
