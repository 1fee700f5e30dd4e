"""From what people said about an answer to a reward in [0, 1], by policy. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pawl_shared.events import FeedbackReceived

# What people say weighs more than what their clicks suggest.
EXPLICIT: Mapping[str, float] = MappingProxyType({"thumb": 1.0, "rating": 1.0, "correction": 1.0})
IMPLICIT: Mapping[str, float] = MappingProxyType({"accepted": 0.25, "copied": 0.25, "regenerated": 0.25})


@dataclass(frozen=True)
class RewardPolicy:
    """Weights by kind of feedback, and by name of implicit signal.

    Comparisons carry no weight: that one answer beat another says nothing about how good either is; they become
    preference pairs in datasets instead. Nor do comments and the app's own metrics, which have no scale of their own.
    """

    explicit: Mapping[str, float] = field(default_factory=lambda: EXPLICIT)
    implicit: Mapping[str, float] = field(default_factory=lambda: IMPLICIT)

    def weight(self, kind: str, name: str) -> float:
        """What one statement weighs."""
        return self.implicit.get(name, 0.0) if kind == "signal" else self.explicit.get(kind, 0.0)


def score(feedback: FeedbackReceived) -> float | None:
    """One statement on the scale from 0 (bad) to 1 (good); None: it says nothing about that.

    A correction is 0: the user had to write the answer. A rating of 1 to 5 is mapped linearly.
    """
    value = feedback.value
    match feedback.kind:
        case "correction":
            return 0.0
        case "thumb" | "comparison" if value is not None:
            return min(max(value, 0.0), 1.0)
        case "rating" if value is not None:
            return (min(max(value, 1.0), 5.0) - 1.0) / 4.0
        case "signal" if value is not None:
            return 1.0 - min(max(value, 0.0), 1.0) if feedback.name == "regenerated" else min(max(value, 0.0), 1.0)
        case _:
            return None


def reward(scores: Mapping[str, float], policy: RewardPolicy) -> tuple[float | None, bool]:
    """The weighted mean of the latest statements, and whether a person rated the answer.

    Args:
        scores: by slot, `kind` or `kind/name`.
    """
    total = weight_sum = 0.0
    rated = False
    for slot, value in scores.items():
        kind, _, name = slot.partition("/")
        weight = policy.weight(kind, name)
        total += weight * value
        weight_sum += weight
        rated = rated or (kind in policy.explicit and weight > 0)
    return (total / weight_sum if weight_sum > 0 else None), rated
