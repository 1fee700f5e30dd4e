"""The quality report of a preprocessing run: how many rows went in and out of every step, and why rows left."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One step: rows before and after, and the reasons for the difference. Reason "merged" marks joined duplicates."""

    name: str
    before: int
    after: int
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class QualityReport:
    """Collects the steps in order. It holds counts and lengths only, never text, so that it may be kept for ever."""

    steps: list[Step] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, name: str, before: int, after: int, reasons: Iterable[str] = ()) -> None:
        """Note one step."""
        self.steps.append(Step(name, before, after, dict(sorted(Counter(reasons).items()))))

    def measure(self, lengths: list[int]) -> None:
        """Note the quartiles and the maximum of the lengths of what is left, in tokens of the base model."""
        if not lengths:
            return
        quartiles = quantiles(lengths, n=4) if len(lengths) > 1 else [lengths[0]] * 3
        self.tokens = dict(zip(("p25", "p50", "p75"), quartiles, strict=True)) | {"max": float(max(lengths))}

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON."""
        return {
            "steps": [
                {"name": step.name, "before": step.before, "after": step.after, "dropped": dict(step.dropped)}
                for step in self.steps
            ],
            "counts": self.counts,
            "tokens": self.tokens,
            "warnings": self.warnings,
        }
