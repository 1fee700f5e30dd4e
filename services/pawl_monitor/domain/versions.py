"""How each version does live: a fold over the evidence, told while it changes, and at a bounded rate.

Sessions of every arm count but pinned ones, whose users chose the version. A session's seconds are means over its
answers; their quantiles come from histograms of floor(8 log2(seconds)), as in the rollups.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import floor, log2
from uuid import UUID

from pawl_monitor.domain.intervals import Estimate, estimate
from pawl_monitor.domain.quantiles import BUCKETS_PER_DOUBLING, quantile
from pawl_shared.events import Interval, SessionObserved, VersionObserved

Histogram = dict[int, int]

# What each time is called in evidence, and in what is told.
TIMES = {"seconds": "", "first_token_seconds": "first_token_"}
QUANTILES = {"p50": 0.5, "p95": 0.95}
SHORTEST = 1e-6  # seconds: a logarithm of 0 there is none


@dataclass(frozen=True, slots=True)
class Version:
    """What was seen of one version. `told`: sessions when it was last told; `due`: when the rest is."""

    model: str
    version: str
    sessions: int = 0
    rated: int = 0
    reward: float = 0.0
    seconds: dict[str, Histogram] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    told: int = 0
    due: datetime | None = None


@dataclass(frozen=True)
class VersionPolicy:
    """When a version's figures are told: once `sessions` more were seen, or a twentieth more, whichever is more; and
    what is left when `rest` has passed. A million sessions make some 200 events, and a day of few sessions at most 24.
    """

    sessions: int = 10
    rest: timedelta = timedelta(hours=1)

    def step(self, state: Version, event: SessionObserved, at: datetime) -> tuple[Version, bool]:
        """One session, and whether the figures are to be told now."""
        rated = event.reward is not None
        state = replace(
            state,
            sessions=state.sessions + 1,
            rated=state.rated + rated,
            reward=state.reward + (event.reward or 0.0),
            seconds={name: _counted(state.seconds.get(name, {}), event.statistics.get(name)) for name in TIMES},
            since=event.started if state.since is None else min(state.since, event.started),
            until=event.ended if state.until is None else max(state.until, event.ended),
            due=state.due or at + self.rest,
        )
        return state, state.sessions - state.told >= max(self.sessions, state.told // 20)


def told(state: Version) -> Version:
    """The state once its figures were told."""
    return replace(state, told=state.sessions, due=None)


def observed(state: Version, identity: UUID, cause: UUID, at: datetime, source: str) -> VersionObserved:
    """The figures as they are."""
    return VersionObserved(
        id=identity,
        time=at,
        source=source,
        cause=cause,
        model=state.model,
        version=state.version,
        approval=_interval(estimate(state.reward, state.rated)),
        seconds=_quantiles(state.seconds),
        sessions=state.sessions,
        rated_share=_interval(estimate(state.rated, state.sessions)),
        since=state.since,
        until=state.until,
    )


def _counted(histogram: Histogram, seconds: float | None) -> Histogram:
    if seconds is None:
        return histogram
    bucket = floor(BUCKETS_PER_DOUBLING * log2(max(seconds, SHORTEST)))
    return {**histogram, bucket: histogram.get(bucket, 0) + 1}


def _quantiles(histograms: dict[str, Histogram]) -> dict[str, float]:
    found = {
        f"{prefix}{name}": quantile(histograms.get(time, {}), share)
        for time, prefix in TIMES.items()
        for name, share in QUANTILES.items()
    }
    return {name: round(value, 4) for name, value in found.items() if value is not None}


def _interval(rate: Estimate | None) -> Interval:
    """The whole range where nothing was measured."""
    if rate is None:
        return Interval(point=0.0, low=0.0, high=1.0, n=0)
    return Interval(point=rate.point, low=rate.low, high=rate.high, n=rate.n)
