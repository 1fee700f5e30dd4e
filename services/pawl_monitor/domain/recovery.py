"""Whether approval has recovered from an alarm: an e-process by betting.

Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024: capital against the
null "mean <= fallen" multiplies by increments of mean <= 1, so P(it ever reaches 1/level | null) <= level.
"""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel, ConfigDict

from pawl_monitor.domain.detectors import NOTHING, evidence_of, increments
from pawl_monitor.domain.intervals import Estimate, estimate


class Recovery(BaseModel):
    """Evidence that approval is above `fallen`, the upper end of what it had fallen to."""

    model_config = ConfigDict(frozen=True)

    alarm: UUID
    fallen: float
    capital: tuple[float, ...] = (1.0,) * len(NOTHING)
    n: int = 0
    total: float = 0.0

    @property
    def evidence(self) -> float:
        """To be compared with 1 / level."""
        return evidence_of(self.capital)

    @property
    def now(self) -> Estimate | None:
        """Approval since; None before the first session."""
        return estimate(self.total, self.n)

    def anew(self) -> Recovery:
        """For another version: the sessions of the one before say nothing of it."""
        return Recovery(alarm=self.alarm, fallen=self.fallen)

    def bet(self, reward: float) -> Recovery:
        """One more session."""
        ones, zeros = increments(max(1 - self.fallen, 1e-6))
        capital = tuple(
            c * ((1 - reward) * one + reward * zero) for one, zero, c in zip(ones, zeros, self.capital, strict=True)
        )
        return self.model_copy(update={"capital": capital, "n": self.n + 1, "total": self.total + reward})
