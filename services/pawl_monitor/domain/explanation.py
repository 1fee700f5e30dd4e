"""What an alarm tells besides its numbers: who rated before and after it, and what was deployed near its start."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from pawl_monitor.domain.detectors import Change
from pawl_monitor.domain.intervals import Estimate, estimate
from pawl_shared.events import DeploymentChanged, Interval

NEAR = timedelta(days=1)  # a deployment this long before the start of a change may have to do with it
REMEMBERED = 8  # deployments
MARKS = 64

WORDS = {"drop": "fell", "rise": "rose", "drift": "rose"}
NOUNS = {
    "approval": "Approval",
    "empty": "The share of empty answers",
    "cut": "The share of answers that were cut off",
    "repetition": "The share of repeated text in answers",
    "failed": "The share of answers that failed",
}


class Mark(NamedTuple):
    """Sessions and rated ones before a session that ended at `time`."""

    time: datetime
    n: int
    rated: int


class Ratings(NamedTuple):
    """How many of the champion's sessions were rated, over time: at most MARKS marks, ever further apart."""

    n: int = 0
    rated: int = 0
    every: int = 1
    marks: tuple[Mark, ...] = ()

    def add(self, rated: bool, time: datetime) -> Ratings:
        """One more session."""
        every, marks = self.every, self.marks
        if self.n % every == 0:
            marks = (*marks, Mark(time, self.n, self.rated))
            if len(marks) == MARKS:
                marks, every = marks[::2], 2 * every
        return Ratings(self.n + 1, self.rated + rated, every, marks)

    def around(self, since: datetime) -> tuple[Estimate | None, Estimate | None]:
        """Shares of rated sessions before and after, as near to `since` as the marks tell."""
        place = bisect_right(self.marks, since, key=lambda mark: mark.time)
        mark = self.marks[place - 1] if place else Mark(since, 0, 0)
        return estimate(mark.rated, mark.n), estimate(self.rated - mark.rated, self.n - mark.n)


class Deployed(NamedTuple):
    """A deployment, as far as an alarm tells of it."""

    id: UUID
    time: datetime
    revision: int
    change: str


def remember(known: tuple[Deployed, ...], event: DeploymentChanged) -> tuple[Deployed, ...]:
    """The latest few that changed who answers."""
    if event.change in ("paused", "resumed", "unpinned"):
        return known
    return (*known, Deployed(event.id, event.time, event.revision, event.change))[-REMEMBERED:]


def near(known: Iterable[Deployed], since: datetime) -> tuple[Deployed, ...]:
    """Deployments from a day before the start of a change on."""
    return tuple(deployed for deployed in known if deployed.time >= since - NEAR)


def interval(value: Estimate) -> Interval:
    """An estimate as events carry it."""
    return Interval(point=value.point, low=value.low, high=value.high, n=value.n)


def percent(value: Estimate) -> str:
    """`78 % (70-84 %, 120 sessions)`."""
    return f"{value.point:.0%} ({value.low:.0%} to {value.high:.0%}, {value.n} sessions)"


def title_of(statistic: str, direction: str) -> str:
    """What moved, and which way: `Approval fell`."""
    what, where, slice_ = statistic.partition(" where ")
    return f"{NOUNS.get(what, f'The share of sessions with {what}')}{where}{slice_} {WORDS[direction]}"


def sentence_of(change: Change, deployments: tuple[Deployed, ...] = ()) -> str:
    """An alarm in one sentence or two."""
    sentence = (
        f"{title_of(change.statistic, change.direction)} from {percent(change.before)} to {percent(change.after)}, "
        f"most likely since {change.since:%Y-%m-%d %H:%M:%S} UTC."
    )
    if not deployments:
        return sentence
    last = min(deployments, key=lambda deployed: abs(deployed.time - change.since))
    return f"{sentence} Deployment {last.revision} ({last.change}) was at {last.time:%Y-%m-%d %H:%M:%S} UTC."
