"""Whether approval has recovered from an alarm, and what is said when it has: an e-process by betting.

Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024: capital against the
null "mean <= fallen" multiplies by increments of mean <= 1, so P(it ever reaches 1/level | null) <= level.
"""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel, ConfigDict

from pawl_monitor.domain.detectors import NOTHING, evidence_of, increments
from pawl_monitor.domain.explanation import interval, percent
from pawl_monitor.domain.intervals import Estimate, estimate
from pawl_shared.events import DriftDetected, DriftResolved, SessionObserved
from pawl_shared.ids import derived_id


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

    def superseded(self, model: str, by: DriftDetected, source: str, policy: str | None) -> DriftResolved:
        """A newer alarm takes the place of this one's."""
        return DriftResolved(
            id=derived_id(by.id, DriftResolved.TYPE),
            time=by.time,
            source=source,
            cause=by.id,
            model=model,
            alarm=self.alarm,
            now=by.after,
            sentence="Approval fell further; a newer alarm stands for both.",
            policy=policy,
        )

    def resolved(self, model: str, event: SessionObserved, source: str, policy: str | None) -> DriftResolved:
        """The alarm is over, as of this session: the evidence suffices."""
        assert self.now is not None
        return DriftResolved(
            id=derived_id(event.id, DriftResolved.TYPE),
            time=event.time,
            source=source,
            cause=event.id,
            model=model,
            alarm=self.alarm,
            now=interval(self.now),
            sentence=f"Approval is {percent(self.now)}, above the {self.fallen:.0%} that it had fallen to at most.",
            policy=policy,
        )
