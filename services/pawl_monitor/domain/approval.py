"""Drift of approval: a drop or a rise of a rate that is unknown and learnt from the same stream.

Two e-detectors watch each direction, and an alarm is raised when either has enough evidence:

* the *bound* half tests "the rate is at least q", where q is a Clopper-Pearson limit taken again at n0 * growth^k
  sessions as a running maximum, so that a later drop cannot pull the reference down with it; it is the quicker one in
  a young stream;
* the *conformal* half bets against uniform smoothed conformal p-values and needs no estimate of the rate at all.

P(false alarm within n sessions) <= alpha n + delta, for every n, drops and rises together (see detectors.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import floor
from typing import Literal, NamedTuple

from pawl_monitor.domain.detectors import (
    NOTHING,
    SHARES,
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
from pawl_monitor.domain.intervals import estimate, lower_limit
from pawl_shared.ids import uniform

Half = Literal["bound", "conformal"]
Side = Literal["drop", "rise"]
SIDES: tuple[Side, Side] = ("drop", "rise")
# Parts of alpha, by direction. Drops matter, as they ask for a run; and the conformal half sees most of those that come
# after thousands of sessions: with a third of alpha for the bound, falls of 10 points took 4 % longer.
ALPHA: dict[Side, dict[Half, float]] = {
    "drop": {"bound": 0.125, "conformal": 0.725},
    "rise": {"bound": 0.05, "conformal": 0.10},
}
DELTA: dict[Side, float] = {"drop": 0.8, "rise": 0.2}
DISLIKED = 0.5  # sessions below it are examples of a drop


class Start(NamedTuple):
    """Where a change may have begun: sessions and reward seen before it, and the time of its first session."""

    n: int
    total: float
    time: datetime


class BoundSide(NamedTuple):
    """One direction of the bound half. `q` bounds the reference rate from below and only moves up."""

    q: float = 0.0
    m: tuple[float, ...] = NOTHING
    best: tuple[float, ...] = NOTHING  # evidence of the best single start, per shift: a CUSUM of the same increments
    starts: tuple[Start | None, ...] = (None,) * len(NOTHING)


class ApprovalState(NamedTuple):
    """Everything the detector knows: constant size, plain values, safe to store as JSON.

    delta: what this reference may spend, or -1: all of the policy's. Examples: answers of sessions that were disliked,
    and of those that were liked.
    """

    n: int = 0
    total: float = 0.0
    epoch: int = 0
    delta: float = -1.0
    bound: tuple[BoundSide, BoundSide] = (BoundSide(), BoundSide())
    conformal: tuple[ConformalSide, ConformalSide] = (ConformalSide(), ConformalSide())
    examples: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """Detector settings; they are frozen while a reference lives.

    alpha: false alarms a session, both directions and halves together (8e-6: at most 0.8 in 100,000 stable sessions).
    delta: probability that any reference is ever wrong; the references of a model share it.
    n0: sessions that are learnt from before the first bet.
    growth: the bound is taken again whenever this many times more sessions are known.
    tolerance: changes of the rate up to this are none. 0.03 bears a daily cycle of 3 points, and makes a fall from .8
    to .7 take 920 sessions instead of 310.
    """

    alpha: float = SHARES["approval"] * Budget().alpha
    delta: float = 0.1
    n0: int = 250
    growth: float = 1.5
    tolerance: float = 0.0

    @property
    def guarantee(self) -> str:
        """What is proven."""
        return f"P(false alarm within n sessions) ≤ {self.alpha:.2g} n + {self.delta:.2g}, sessions independent"

    def threshold(self, side: Side, half: Half) -> float:
        """Evidence at which this half of this direction raises the alarm."""
        return 1 / (self.alpha * ALPHA[side][half])

    def begin(self, reference: int) -> ApprovalState:
        """A new reference; delta of all of them sums to the policy's."""
        return ApprovalState(delta=self.delta / (reference * (reference + 1)))

    def step(self, state: ApprovalState, seen: Observation) -> tuple[ApprovalState, Decision | None]:
        """Bet on one session with what is known from the past only, then learn from it."""
        if seen.reward is None:
            return state, None
        if not 0.0 <= seen.reward <= 1.0:
            raise ValueError(f"a session's reward must lie in [0, 1], not {seen.reward}")
        bound = self._bet(state, seen.reward, seen.time)
        conformal = self._conform(state, seen.reward, seen.session)
        n, total, epoch = state.n + 1, state.total + seen.reward, state.epoch
        if n >= self.n0 * self.growth**epoch:
            delta = self.delta if state.delta < 0 else state.delta
            bound, epoch = self._learn(bound, n, total, epoch, delta), epoch + 1
        disliked, liked = state.examples
        if seen.reward < DISLIKED:
            disliked = keep_example(disliked, seen.example)
        else:
            liked = keep_example(liked, seen.example)
        new = ApprovalState(n, total, epoch, state.delta, bound, conformal, (disliked, liked))
        return new, self._judge(new, seen.reward, seen.time)

    def evidence(self, state: ApprovalState) -> dict[Side, float]:
        """How near each direction is to an alarm (1)."""
        return {side: max(self._halves(state, i).values()) for i, side in enumerate(SIDES)}

    def _halves(self, state: ApprovalState, i: int) -> dict[Half, float]:
        alpha = ALPHA[SIDES[i]]
        return {
            "bound": evidence_of(state.bound[i].m) * self.alpha * alpha["bound"],
            "conformal": evidence_of(state.conformal[i].m) * self.alpha * alpha["conformal"],
        }

    def _bet(self, state: ApprovalState, reward: float, time: datetime) -> tuple[BoundSide, BoundSide]:
        if not state.epoch:
            return state.bound
        start = Start(state.n, state.total, time)
        drop, rise = state.bound
        return _bet(drop, reward, start), _bet(rise, 1 - reward, start)

    def _learn(
        self, sides: tuple[BoundSide, BoundSide], n: int, total: float, epoch: int, delta: float
    ) -> tuple[BoundSide, BoundSide]:
        part = delta / ((epoch + 1) * (epoch + 2))  # sums to delta over all epochs
        drop, rise = sides
        low = lower_limit(floor(total), n, part * DELTA["drop"]) - self.tolerance
        high = lower_limit(floor(n - total), n, part * DELTA["rise"]) - self.tolerance
        return drop._replace(q=max(drop.q, low)), rise._replace(q=max(rise.q, high))

    def _conform(self, state: ApprovalState, reward: float, session: str) -> tuple[ConformalSide, ConformalSide]:
        # The mean of a session enters by randomised rounding: on plain means the p-values of this half hardly move and
        # it never fires (0 of 20 simulated drops; rounded 20 of 20).
        x = int(uniform("rounding", session) < reward)
        drop, rise = state.conformal
        if drop.cut >= 0:
            u = uniform("smoothing", session)
            return conform(drop, x, u, self.tolerance), conform(rise, 1 - x, u, self.tolerance)
        n, ones = drop.n + 1, drop.ones + x
        if n < self.n0:
            return ConformalSide(n, ones), ConformalSide(n, n - ones)
        return ConformalSide(cut=reference_cut(n - ones, n)), ConformalSide(cut=reference_cut(ones, n))

    def _judge(self, state: ApprovalState, reward: float, time: datetime) -> Decision:
        halves = [self._halves(state, i) for i in range(2)]
        evidence: dict[str, float] = {side: max(half.values()) for side, half in zip(SIDES, halves, strict=True)}
        if not state.epoch:
            return Decision("learning", evidence)
        for i, side in enumerate(SIDES):
            if evidence[side] >= 1:
                half = max(halves[i], key=halves[i].__getitem__)
                return Decision(side, evidence, self._explain(state, i, half, halves[i][half], reward, time))
        return Decision("stable", evidence)

    def _explain(
        self, state: ApprovalState, i: int, half: Half, evidence: float, reward: float, time: datetime
    ) -> Change:
        start = _likeliest(state.bound[i]) or Start(state.n - 1, state.total - reward, time)
        before = estimate(start.total, start.n)
        after = estimate(state.total - start.total, state.n - start.n)
        if before is None or after is None:
            raise ValueError("an alarm needs sessions before and after the change; n0 must be at least 1")
        threshold = self.threshold(SIDES[i], half)
        return Change(
            "approval", SIDES[i], start.time, before, after, evidence * threshold, threshold, f"approval/{half}",
            state.examples[i],
        )  # fmt: skip


def _bet(side: BoundSide, x: float, start: Start) -> BoundSide:
    q, m, best, starts = side
    if not 0.0 < q < 1.0:
        return side
    ones, zeros = increments(q)
    if x in (0.0, 1.0):  # nearly every session; the same to the last bit, in a third of the time
        bets = ones if x else zeros
    else:
        bets = tuple([x * one + (1 - x) * zero for one, zero in zip(ones, zeros, strict=True)])
    m = tuple([bet * (value + 1) for bet, value in zip(bets, m, strict=True)])
    if max(best) <= 1:
        return BoundSide(q, m, bets, (start,) * len(bets))
    best = tuple([bet * (peak if peak > 1 else 1.0) for bet, peak in zip(bets, best, strict=True)])
    starts = tuple([since if peak > 1 else start for peak, since in zip(side.best, starts, strict=True)])
    return BoundSide(q, m, best, starts)


def _likeliest(side: BoundSide) -> Start | None:
    """The start that maximises the evidence, over all starts and shifts."""
    _, start = max(zip(side.best, side.starts, strict=True), key=lambda pair: pair[0])
    return start
