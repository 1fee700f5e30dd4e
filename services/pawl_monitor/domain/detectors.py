"""What every detector shares: the port, the recursion by which it bets, and one error budget for a whole model.

    state, decision = policy.step(state, observation)

Policies are frozen, states are small immutable values that are stored as JSON beside the offsets, and every random
number comes from the observation's own id: a restart or a replay gives the same alarms.

An e-detector runs M_n = L_n (M_{n-1} + 1) with E[L_n | past] <= 1 while nothing has changed (Shirayev-Roberts). Then
M_n - n is a supermartingale, so an alarm at M >= 1/alpha has P(false alarm within n) <= alpha n, for every n [SRR].
Several of them that split alpha among themselves keep to it together, because probabilities of alarms add up.

Sources: [SRR] Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS
2023; [VP] Vovk, Petej, Nouretdinov, Ahlberg, Carlsson, Gammerman, "Retrain or not retrain: conformal test martingales
for change-point detection", COPA 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from math import exp
from typing import Literal, NamedTuple, Protocol, TypeVar

from pawl_monitor.domain.intervals import Estimate

# Alternatives: the log-odds of a rate fall by s; at 0.8 about 3, 7, 11, 18, 30 and 54 points. Falls of some 10 points
# have the most weight. A finer grid gains nothing (1.46 instead of 1.46 times the informed CUSUM at .6 -> .5).
SHIFTS = (0.2, 0.4, 0.6, 0.9, 1.4, 2.4)
WEIGHTS = (0.1, 0.2, 0.25, 0.2, 0.15, 0.1)
NOTHING = (0.0,) * len(SHIFTS)
# Parts of a model's budget of false alarms.
SHARES = {"approval": 0.8, "output": 0.13, "traffic": 0.07}
MORE = 0.2  # of the budget, for all further detectors that have a guarantee; the others give it, in proportion
EXAMPLES = 5  # sessions that an alarm names

Direction = Literal["drop", "rise", "drift"]
Verdict = Literal["learning", "stable", "drop", "rise", "drift"]
Bets = tuple[tuple[float, ...], tuple[float, ...]]


class Observation(NamedTuple):
    """One session of the champion. `reward`: its mean in [0, 1], none when nobody rated it; `time`: when it ended."""

    session: str
    reward: float | None
    time: datetime
    statistics: Mapping[str, float] = {}
    prompt: str = ""  # its sketch, see SessionObserved
    example: str = ""  # the id of its first answer
    tags: Mapping[str, str] = {}
    language: str | None = None


class Change(NamedTuple):
    """What an alarm says: of which statistic, since when, from what to what, and on how much evidence.

    `before` and `after` are rates: of `statistic` itself, or of sessions for which what it says is true.
    """

    statistic: str
    direction: Direction
    since: datetime
    before: Estimate
    after: Estimate
    evidence: float
    threshold: float
    detector: str
    examples: tuple[str, ...] = ()

    @property
    def sessions(self) -> int:
        """Sessions since the estimated start."""
        return self.after.n


class Decision(NamedTuple):
    """The answer to one session; `evidence` by direction or statistic, in units of its threshold (1 = alarm)."""

    verdict: Verdict
    evidence: Mapping[str, float]
    change: Change | None = None


S = TypeVar("S")


class Detector(Protocol[S]):
    """The port. `guarantee`: what is proven about its false alarms, in one sentence; empty: nothing is."""

    guarantee: str

    def begin(self, reference: int) -> S:
        """The state at the start of the model's reference of this number, from 1."""

    def step(self, state: S, seen: Observation) -> tuple[S, Decision | None]:
        """Take in one session. No decision: it says nothing of what this detector watches."""


class Budget(NamedTuple):
    """What all detectors of a model may spend together.

    alpha: false alarms a stable session. delta: probability that any reference of the approval bound is ever wrong, in
    the whole life of the model; reference number r may use delta / (r (r + 1)), and these sum to delta.
    """

    alpha: float = 1e-5
    delta: float = 0.1

    def of_reference(self, number: int) -> float:
        """The part of delta that this reference, counted from 1, may use."""
        return self.delta / (number * (number + 1))

    def spent(self, references: int) -> float:
        """The part of delta that so many references have used."""
        return self.delta * references / (references + 1)


@lru_cache(maxsize=4096)
def increments(q: float) -> Bets:
    """The increments (L at 1, L at 0), one for each shift, against the null "the rate is at least q".

    L is affine in what is observed, and E[L] <= 1 for every mean >= q [SRR, bounded means].
    """
    alternatives = [odds / (1 + odds) for odds in (q / (1 - q) * exp(-s) for s in SHIFTS)]
    return tuple(p / q for p in alternatives), tuple((1 - p) / (1 - q) for p in alternatives)


def evidence_of(m: tuple[float, ...]) -> float:
    """The mixture over the shifts, to be compared with 1/alpha."""
    # written out (as in conform): a third of the time of a loop, and a session asks for it nine times
    a, b, c, d, e, f = m
    w0, w1, w2, w3, w4, w5 = WEIGHTS
    return w0 * a + w1 * b + w2 * c + w3 * d + w4 * e + w5 * f


class ConformalSide(NamedTuple):
    """Is 1 seen less often than it was?  `cut` is the share of 0 in the reference, which is left out of the bag.

    The smoothed p-value within the bag, the present session included, is i.i.d. uniform for every exchangeable stream
    [VP], so nothing needs to be known of the rate, and nothing is spent on it.
    """

    n: int = 0
    ones: int = 0
    cut: float = -1.0
    m: tuple[float, ...] = NOTHING


def conform(side: ConformalSide, x: int, u: float, tolerance: float) -> ConformalSide:
    """Bet on one session, 0 or 1; u in [0, 1) breaks ties. `tolerance`: as much more often than `cut` is no change."""
    n, ones, cut, (a, b, c, d, e, f) = side
    n, ones = n + 1, ones + x
    zeros = n - ones
    p = (zeros + u * ones) / n if x else u * zeros / n
    b0, b1, b2, b3, b4, b5 = increments(1 - min(cut + tolerance, 0.99))[p <= cut]
    m = (b0 * (a + 1), b1 * (b + 1), b2 * (c + 1), b3 * (d + 1), b4 * (e + 1), b5 * (f + 1))
    return ConformalSide(n, ones, cut, m)


def reference_cut(zeros: float, n: int) -> float:
    """The share of 0 in a reference, kept away from 0 and 1 (Laplace's rule)."""
    return (zeros + 1) / (n + 2)


def keep_example(examples: tuple[str, ...], example: str) -> tuple[str, ...]:
    """The latest few."""
    return (*examples, example)[-EXAMPLES:] if example else examples
