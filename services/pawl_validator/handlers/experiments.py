"""What the validator knows of a running experiment, and what it tells of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from pawl_shared import events as e
from pawl_validator.domain import comparison
from pawl_validator.domain.comparison import Bounds, Comparison, Seen

# A report is told whenever there are so many more sessions than in the one before: 575 of them up to 100,000 sessions.
GROWTH = 1.02


class Trying(BaseModel):
    """A running experiment. `told`: sessions in the latest report."""

    model_config = ConfigDict(frozen=True)

    started: datetime
    known: Comparison
    told: int = 0

    @property
    def due(self) -> bool:
        """Whether there is enough news for a report."""
        return self.known.sessions >= self.told * GROWTH and self.known.sessions > self.told


def begin(experiment: e.Experiment, at: datetime) -> Trying:
    """Nothing is known yet."""
    return Trying(started=at, known=comparison.begin(len(experiment.arms)))


def take(experiment: e.Experiment, trying: Trying, event: e.SessionObserved) -> Trying:
    """One more session; those of no arm change nothing."""
    names = [arm.name for arm in experiment.arms]
    if event.experiment != experiment.id or event.experiment_arm not in names:
        return trying
    seen = Seen(names.index(event.experiment_arm), event.reward, event.statistics)
    known = comparison.take([arm.share for arm in experiment.arms], trying.known, seen)
    return trying.model_copy(update={"known": known})


def observed(experiment: e.Experiment, trying: Trying, over: bool, envelope: dict[str, Any]) -> e.ExperimentObserved:
    """The report. `envelope`: id, time, source, cause and model."""
    arms = experiment.arms
    names, shares = [arm.name for arm in arms], [arm.share for arm in arms]
    found = comparison.report(names, shares, trying.known, experiment.alpha)
    return e.ExperimentObserved(
        **envelope,
        version=arms[0].served.version,
        experiment=experiment.id,
        name=experiment.name,
        alpha=experiment.alpha,
        sessions=trying.known.sessions,
        arms=tuple(
            e.ArmObserved(
                arm=arm.name,
                version=arm.served.version,
                share=arm.share,
                sessions=rated.n,
                rated=_interval(rated),
                approval=_interval(approval),
                means=means,
            )
            for arm, rated, approval, means in zip(arms, found.rated, found.approval, found.means, strict=True)
        ),
        compared=tuple(
            e.ArmCompared(arm=name, control=names[0], blocks=gap.n, difference=gap.point, low=gap.low, high=gap.high)
            for name, gap in zip(names[1:], found.differences, strict=True)
        ),
        warnings=found.warnings,
        over=over,
    )


def _interval(bounds: Bounds) -> e.Interval:
    return e.Interval(point=bounds.point, low=bounds.low, high=bounds.high, n=bounds.n)
