"""What feedback is worth: the section `reward` of a model's policy, by which streams scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from pawl_shared.policies.values import Section

Fraction = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(ge=-1e12, le=1e12)]


class Weight(Section):
    """What one kind of statement counts."""

    # Up to a million, and numbers up to a trillion: their sums and quotients stay finite.
    weight: float = Field(default=1.0, ge=0, le=1e6, description="of one statement in the mean")
    trust: Fraction = Field(default=1.0, description="how far it may move from 0.5 (undecided); 1: all the way")


class Scale(Weight):
    """A number's scale: `bad` becomes 0, `good` becomes 1, linear between them and cut off outside."""

    bad: Number = Field(default=0.0, description="the number that becomes 0")
    good: Number = Field(default=1.0, description="the number that becomes 1")

    @model_validator(mode="after")
    def _has_a_length(self) -> Scale:
        if self.bad == self.good:
            raise ValueError("bad and good are the same number")
        return self


def _signals() -> Mapping[str, Scale]:
    """What people's clicks suggest weighs less than what they say."""
    return {
        "accepted": Scale(weight=0.25),
        "copied": Scale(weight=0.25),
        "regenerated": Scale(weight=0.25, bad=1.0, good=0.0),
    }


class RewardPolicy(Section):
    """From feedback to a reward in [0, 1].

    Comparisons weigh nothing unless a policy says so: that one answer beat another says nothing about how good either
    is; they become preference pairs in datasets. Comments and metrics that are not named here have no scale. With
    `unchanged` at 0.5, a correction that keeps 95 % of the words scores 0.9.
    """

    thumb: Weight = Field(
        default=Weight(), description="weight: of a thumb in the mean; trust: how far it may move from 0.5 (undecided)"
    )
    rating: Weight = Field(default=Weight(), description="the same of a rating")
    correction: Weight = Field(default=Weight(), description="of a correction")
    comparison: Weight = Field(default=Weight(weight=0.0), description="of a comparison")
    outcome: Weight = Field(default=Weight(), description="of an outcome of the session")
    signals: Mapping[str, Scale] = Field(
        default_factory=_signals, description="by name, what clicks suggest; naming one replaces the list"
    )
    metrics: Mapping[str, Scale] = Field(default_factory=dict, description="by name, the scale of an app's own numbers")
    unchanged: Fraction = Field(
        default=0.5, description="share of words that a correction must leave alone to score above 0; 1: always 0"
    )
    discount: Fraction = Field(
        default=1.0, description="an outcome's weight for each answer further from the session's end; 0: the last alone"
    )

    def of(self, kind: str, name: str) -> Weight | None:
        """What one statement weighs; None where it says nothing of how good the answer is."""
        match kind:
            case "thumb" | "rating" | "correction" | "comparison" | "outcome":
                found: Weight | None = getattr(self, kind)
            case "signal":
                found = self.signals.get(name)
            case "metric":
                found = self.metrics.get(name)
            case _:
                found = None
        return found if found is not None and found.weight > 0 else None
