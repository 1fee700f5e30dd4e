"""Drift of approval: a drop or a rise of a rate that is unknown and learnt from the same stream.

Two e-detectors watch each direction, each at half the level, and an alarm is raised when either has enough evidence:

* the *bound* half tests "the rate is at least q", where q is a Clopper-Pearson limit taken again at n0 * growth^k
  sessions as a running maximum, so that a later drop cannot pull the reference down with it;
* the *conformal* half bets against uniform smoothed conformal p-values and needs no estimate of the rate at all.

Both run the Shiryaev-Roberts recursion M_n = L_n (M_{n-1} + 1) for five sizes of shift; with E[L_n | past] <= 1 while
nothing has changed, P(false alarm within n sessions) <= alpha n + delta per direction, for every n.

Sources: [SRR] Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS
2023; [VP] Vovk, Petej, Nouretdinov, Ahlberg, Carlsson, Gammerman, "Retrain or not retrain: conformal test martingales
for change-point detection", COPA 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from math import exp, floor
from typing import Literal

from pawl_monitor.domain.intervals import Estimate, estimate, lower_limit
from pawl_shared.ids import uniform

# Alternatives: the log-odds of approval fall by s; at p = 0.8 about 2, 5, 11, 25 and 54 points.
SHIFTS = (0.15, 0.3, 0.6, 1.2, 2.4)
NOTHING = (0.0,) * len(SHIFTS)

Direction = Literal["drop", "rise"]
Verdict = Literal["learning", "stable", "drop", "rise"]
Bets = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """One rated session of the champion: its mean reward in [0, 1] and when it ended (event time)."""

    session: str
    reward: float
    time: datetime


@dataclass(frozen=True, slots=True)
class Start:
    """Where a change may have begun: sessions and reward seen before it, and the time of its first session."""

    n: int
    total: float
    time: datetime


@dataclass(frozen=True, slots=True)
class BoundSide:
    """One direction of the bound half. `q` bounds the reference rate from below and only moves up."""

    q: float = 0.0
    m: tuple[float, ...] = NOTHING
    best: tuple[float, ...] = NOTHING  # evidence of the best single start, per shift: a CUSUM of the same increments
    starts: tuple[Start | None, ...] = (None,) * len(SHIFTS)


@dataclass(frozen=True, slots=True)
class ConformalSide:
    """One direction of the conformal half; `cut` is learnt from the first n0 sessions, which then leave the bag."""

    n: int = 0
    ones: int = 0
    cut: float = -1.0
    m: tuple[float, ...] = NOTHING


@dataclass(frozen=True, slots=True)
class ApprovalState:
    """Everything the detector knows: constant size, plain values, safe to store as JSON."""

    n: int = 0
    total: float = 0.0
    epoch: int = 0
    began: datetime | None = None
    bound: tuple[BoundSide, BoundSide] = (BoundSide(), BoundSide())
    conformal: tuple[ConformalSide, ConformalSide] = (ConformalSide(), ConformalSide())


@dataclass(frozen=True, slots=True)
class Change:
    """What an alarm says: since when, from what to what, on how much evidence, and by which half."""

    direction: Direction
    since: datetime
    before: Estimate
    after: Estimate
    evidence: float
    threshold: float
    detector: Literal["bound", "conformal"]
    sessions: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The detector's answer to one session; `evidence` is in units of the threshold (1 = alarm)."""

    verdict: Verdict
    evidence: dict[Direction, float] = field(default_factory=dict)
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """Detector settings; they are frozen while a reference lives.

    alpha: false alarms per session and direction (1e-5: at most one in 100,000 stable sessions).
    delta: probability that one reference is ever wrong, per direction; a new reference spends it anew.
    n0: sessions that are learnt from before the first bet.
    growth: the bound is taken again whenever this many times more sessions are known.
    """

    alpha: float = 1e-5
    delta: float = 0.1
    n0: int = 250
    growth: float = 1.5

    @property
    def threshold(self) -> float:
        """Evidence (summed over the shifts) at which one half of one direction raises the alarm."""
        return len(SHIFTS) / (self.alpha / 2)

    def step(self, state: ApprovalState, seen: Observation) -> tuple[ApprovalState, Decision]:
        """Bet on one session with what is known from the past only, then learn from it."""
        if not 0.0 <= seen.reward <= 1.0:
            raise ValueError(f"a session's reward must lie in [0, 1], not {seen.reward}")
        bound = self._bet(state, seen)
        conformal = self._conform(state, seen)
        n, total, epoch = state.n + 1, state.total + seen.reward, state.epoch
        if n >= self.n0 * self.growth**epoch:
            bound, epoch = self._learn(bound, n, total, epoch), epoch + 1
        new = ApprovalState(n, total, epoch, state.began or seen.time, bound, conformal)
        return new, self._judge(new, seen)

    def _bet(self, state: ApprovalState, seen: Observation) -> tuple[BoundSide, BoundSide]:
        if not state.epoch:
            return state.bound
        start = Start(state.n, state.total, seen.time)
        drop, rise = state.bound
        return _bet(drop, seen.reward, start), _bet(rise, 1 - seen.reward, start)

    def _learn(
        self, sides: tuple[BoundSide, BoundSide], n: int, total: float, epoch: int
    ) -> tuple[BoundSide, BoundSide]:
        delta = self.delta / ((epoch + 1) * (epoch + 2))  # sums to delta over all epochs
        drop, rise = sides
        return (
            replace(drop, q=max(drop.q, lower_limit(floor(total), n, delta))),
            replace(rise, q=max(rise.q, lower_limit(floor(n - total), n, delta))),
        )

    def _conform(self, state: ApprovalState, seen: Observation) -> tuple[ConformalSide, ConformalSide]:
        # The mean of a session enters by randomised rounding: on plain means the p-values of this half hardly move and
        # it never fires (0 of 20 simulated drops; rounded 20 of 20).
        x = int(uniform("rounding", seen.session) < seen.reward)
        smoothing = uniform("smoothing", seen.session)
        drop, rise = state.conformal
        return _conform(drop, x, smoothing, self.n0), _conform(rise, 1 - x, smoothing, self.n0)

    def _judge(self, state: ApprovalState, seen: Observation) -> Decision:
        sums = [(sum(b.m), sum(c.m)) for b, c in zip(state.bound, state.conformal, strict=True)]
        evidence: dict[Direction, float] = {
            "drop": max(sums[0]) / self.threshold,
            "rise": max(sums[1]) / self.threshold,
        }
        if not state.epoch:
            return Decision("learning", evidence)
        direction: Direction
        for side, direction in ((0, "drop"), (1, "rise")):
            if max(sums[side]) >= self.threshold:
                half: Literal["bound", "conformal"] = "bound" if sums[side][0] >= sums[side][1] else "conformal"
                change = self._explain(state, side, direction, max(sums[side]), half, seen)
                return Decision(direction, evidence, change)
        return Decision("stable", evidence)

    def _explain(
        self,
        state: ApprovalState,
        side: int,
        direction: Direction,
        evidence: float,
        half: Literal["bound", "conformal"],
        seen: Observation,
    ) -> Change:
        start = _likeliest(state.bound[side]) or Start(state.n - 1, state.total - seen.reward, seen.time)
        before = estimate(start.total, start.n)
        after = estimate(state.total - start.total, state.n - start.n)
        if before is None or after is None:
            raise ValueError("an alarm needs sessions before and after the change; n0 must be at least 1")
        return Change(direction, start.time, before, after, evidence, self.threshold, half, sessions=state.n - start.n)


@lru_cache(maxsize=4096)
def increments(q: float) -> Bets:
    """For each shift the increments (L at reward 1, L at reward 0) against the null "rate >= q".

    L is affine in the reward and E[L] <= 1 for every mean >= q [SRR, bounded means].
    """
    alternatives = (odds / (1 + odds) for odds in (q / (1 - q) * exp(-s) for s in SHIFTS))
    return tuple((p / q, (1 - p) / (1 - q)) for p in alternatives)


def _bet(side: BoundSide, x: float, start: Start) -> BoundSide:
    if not 0.0 < side.q < 1.0:
        return side
    m: list[float] = []
    best: list[float] = []
    starts: list[Start | None] = []
    y = 1 - x
    for (one, zero), value, peak, since in zip(increments(side.q), side.m, side.best, side.starts, strict=True):
        bet = x * one + y * zero
        m.append(bet * (value + 1))
        best.append(bet * (peak if peak > 1 else 1.0))
        starts.append(since if peak > 1 else start)
    return BoundSide(side.q, tuple(m), tuple(best), tuple(starts))


def _likeliest(side: BoundSide) -> Start | None:
    """The start that maximises the evidence, over all starts and shifts."""
    _, start = max(zip(side.best, side.starts, strict=True), key=lambda pair: pair[0])
    return start


def _conform(side: ConformalSide, x: int, u: float, n_cut: int) -> ConformalSide:
    n, ones = side.n + 1, side.ones + x
    if side.cut < 0:
        if n < n_cut:
            return ConformalSide(n, ones)
        return ConformalSide(cut=(n - ones + 1) / (n + 2))
    # Smoothed p-value within the bag, this session included: i.i.d. uniform for an exchangeable stream [VP].
    zeros = n - ones
    p = (zeros + u * ones) / n if x else u * zeros / n
    hit = p <= side.cut
    m = tuple(
        (zero if hit else one) * (value + 1)
        for (one, zero), value in zip(increments(1 - side.cut), side.m, strict=True)
    )
    return ConformalSide(n, ones, side.cut, m)
