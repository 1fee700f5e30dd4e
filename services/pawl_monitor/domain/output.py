"""Drift of what the model answers: lengths, empty and cut answers, repetition, time; no feedback is needed.

Each statistic of a session becomes 0 or 1: a share as it is (rounded at random, as approval is), a quantity by whether
it is above a quantile of the reference. The conformal e-detector of detectors.py bets on each, so E[false alarms] <=
alpha a session, exactly and whatever the distribution, as long as sessions are exchangeable; no delta is spent. The
price: with nothing but 250 sessions as a reference it is slower than the bound half of approval would be.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from pawl_monitor.domain.detectors import (
    SHARES,
    SHIFTS,
    Budget,
    Change,
    ConformalSide,
    Decision,
    Observation,
    conform,
    evidence_of,
    increments,
    keep_example,
    reference_cut,
)
from pawl_monitor.domain.intervals import estimate
from pawl_shared.ids import uniform

MIDDLE = len(SHIFTS) // 2  # a CUSUM of this shift's bets tells the likeliest start
Way = Literal["rise", "drop"]


class Measure(NamedTuple):
    """A statistic of SessionObserved. `above`: the quantile of the reference that sessions are compared with; none: the
    statistic is a share itself. `ways`: the changes that are watched."""

    name: str
    above: float | None = None
    ways: tuple[Way, ...] = ("rise",)


MEASURES = (
    Measure("words", 0.5, ("rise", "drop")),
    Measure("seconds", 0.8),
    Measure("empty"),
    Measure("cut"),
    Measure("repetition"),
    Measure("failed"),
)


class Lane(NamedTuple):
    """One way of one statistic. `peak`, `since`, `n`, `total`: the start that is likeliest, and what is known of it."""

    side: ConformalSide
    peak: float = 0.0
    since: datetime | None = None
    n: int = 0
    total: int = 0
    examples: tuple[str, ...] = ()


class Gauge(NamedTuple):
    """One statistic, by its name: its values while the reference is learnt, then the limit and its ways."""

    name: str
    values: tuple[float, ...] = ()
    limit: float = 0.0
    n: int = 0
    total: int = 0
    lanes: tuple[Lane, ...] = ()


class OutputState(NamedTuple):
    """One gauge for each statistic that has been seen."""

    gauges: tuple[Gauge, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputPolicy:
    """alpha: false alarms a session, of all statistics together. n0: sessions of the reference. tolerance: changes of
    a share up to this are none. name: of the detector, in its alarms."""

    alpha: float = SHARES["output"] * Budget().alpha
    n0: int = 250
    tolerance: float = 0.0
    measures: tuple[Measure, ...] = MEASURES
    name: str = "output"

    @property
    def guarantee(self) -> str:
        """What is proven."""
        return f"E[false alarms within n sessions] ≤ {self.alpha:.2g} n, sessions exchangeable"

    @property
    def threshold(self) -> float:
        """Evidence at which one way of one statistic raises the alarm."""
        return sum([len(measure.ways) for measure in self.measures]) / self.alpha

    def begin(self, reference: int) -> OutputState:
        """A new reference."""
        return OutputState()

    def step(self, state: OutputState, seen: Observation) -> tuple[OutputState, Decision | None]:
        """Take in one session's statistics; those that it lacks are left as they are."""
        threshold = self.threshold
        u, rounding = uniform("output", seen.session), uniform("output rounding", seen.session)
        gauges, evidence, change = {gauge.name: gauge for gauge in state.gauges}, dict[str, float](), None
        for measure in self.measures:
            value = seen.statistics.get(measure.name)
            if value is None:
                continue
            gauge = gauges.get(measure.name) or Gauge(measure.name)
            if not gauge.lanes:
                gauges[measure.name] = self._learn(measure, gauge, value)
                continue
            x = int(rounding < value if measure.above is None else value > gauge.limit)
            gauge = self._watch(measure, gauge, x, u, seen)
            gauges[measure.name] = gauge
            values = [evidence_of(lane.side.m) for lane in gauge.lanes]
            highest = max(values)
            evidence[measure.name] = highest / threshold
            if highest >= threshold and change is None:
                change = self._explain(measure, gauge, values.index(highest), seen.time)
        new = OutputState(tuple(gauges.values()))
        if change is not None:
            return new, Decision(change.direction, evidence, change)
        return new, Decision("stable" if evidence else "learning", evidence)

    def _learn(self, measure: Measure, gauge: Gauge, value: float) -> Gauge:
        values = (*gauge.values, value)
        if len(values) < self.n0:
            return gauge._replace(values=values)
        if measure.above is None:
            limit, ones = 0.0, sum(values)
        else:
            limit = sorted(values)[int(measure.above * (len(values) - 1))]
            ones = sum(value > limit for value in values)
        n = len(values)
        # the lane looks for fewer 1: for a rise of the statistic, 1 stands for the sessions that are not above
        cuts = [reference_cut(ones if way == "rise" else n - ones, n) for way in measure.ways]
        return Gauge(measure.name, (), limit, n, round(ones), tuple([Lane(ConformalSide(cut=cut)) for cut in cuts]))

    def _watch(self, measure: Measure, gauge: Gauge, x: int, u: float, seen: Observation) -> Gauge:
        name, _, limit, sessions, ones, known = gauge
        lanes = []
        for way, (side, peak, since, n, total, examples) in zip(measure.ways, known, strict=True):
            bad = x if way == "rise" else 1 - x
            side = conform(side, 1 - bad, u, self.tolerance)
            if bad:
                examples = keep_example(examples, seen.example)
            bet = increments(1 - side.cut)[bad][MIDDLE]
            if peak > 1:
                lanes.append(Lane(side, peak * bet, since, n, total, examples))
            else:
                lanes.append(Lane(side, bet, seen.time, sessions, ones, examples))
        return Gauge(name, (), limit, sessions + 1, ones + x, tuple(lanes))

    def _explain(self, measure: Measure, gauge: Gauge, i: int, now: datetime) -> Change:
        lane, threshold = gauge.lanes[i], self.threshold
        before = estimate(lane.total, lane.n)
        after = estimate(gauge.total - lane.total, gauge.n - lane.n)
        assert before is not None
        assert after is not None
        name = measure.name if measure.above is None else f"{measure.name} above {gauge.limit:.3g}"
        evidence = evidence_of(lane.side.m)
        return Change(
            name, measure.ways[i], lane.since or now, before, after, evidence, threshold, f"{self.name}/{measure.name}",
            lane.examples,
        )  # fmt: skip
