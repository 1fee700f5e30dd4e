"""Canaries of two equal arms that are promoted all the same, in percent, with a look at every session.

Peer in the same run and on the same sessions: a one-sided z-test at the same level that is looked at as often, which
is what a dashboard with a p-value does. The third variant is rated at different rates, the challenger twice as often.

Run: .venv/bin/python -m benchmarks.canary [--quick]
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from math import sqrt
from random import Random
from statistics import NormalDist

from benchmarks.harness import Benchmark, Run, Target, main

from pawl_validator.domain.canary import CanaryPolicy, CanaryState, Observation, step

RATE, SHARE, SESSIONS = 0.7, 0.5, 400
CANARIES = 100  # in one round
ALPHA = 0.01
START = datetime(2026, 1, 1, tzinfo=UTC)


def sessions(seed: int, rated: tuple[float, float]) -> Iterator[tuple[bool, float]]:
    """(challenger, liked) of the rated sessions of one canary; `rated`: the part of each arm's sessions that is."""
    rng = Random(seed)
    left = SESSIONS
    while left:
        challenger = rng.random() < SHARE
        liked = float(rng.random() < RATE)
        if rng.random() < rated[challenger]:
            left -= 1
            yield challenger, liked


def pawl_promotes(seed: int, rated: tuple[float, float] = (1.0, 1.0)) -> bool:
    """Whether Pawl's test promotes (a rollback ends the canary as well)."""
    policy, state = CanaryPolicy(share=SHARE, alpha_promote=ALPHA), CanaryState()
    for challenger, liked in sessions(seed, rated):
        state, decision = step(policy, state, Observation(challenger=challenger, reward=liked, time=START))
        if decision.action != "continue":
            return decision.action == "promote"
    return False


def z_test_promotes(seed: int) -> bool:
    """Whether a z-test of two rates, looked at from the 20th session of each arm on, is ever significant."""
    count, good = [0, 0], [0.0, 0.0]
    limit = NormalDist().inv_cdf(1 - ALPHA)
    for challenger, liked in sessions(seed, (1.0, 1.0)):
        count[challenger] += 1
        good[challenger] += liked
        if min(count) >= 20:
            pooled = sum(good) / sum(count)
            error = sqrt(pooled * (1 - pooled) * (1 / count[0] + 1 / count[1]))
            if error and (good[1] / count[1] - good[0] / count[0]) / error > limit:
                return True
    return False


def share_of(promotes: Callable[[int], bool]) -> Run:
    """A variant: percent of promotions; each round draws new canaries, all variants the same ones."""
    rounds = itertools.count()

    def run() -> float:
        start = next(rounds) * CANARIES
        return 100 * sum(map(promotes, range(start, start + CANARIES))) / CANARIES

    return run


BENCHMARK = Benchmark(
    name="canary",
    unit="% of equal challengers promoted",
    variants={
        "Pawl": share_of(pawl_promotes),
        "Pawl, challenger rated twice as often": share_of(lambda seed: pawl_promotes(seed, (0.4, 0.8))),
        "z-test at every session": share_of(z_test_promotes),
    },
    targets=(
        Target("Pawl", at_most=100 * ALPHA),
        Target("Pawl, challenger rated twice as often", at_most=100 * ALPHA),
    ),
    rounds=20,
    quick_rounds=5,
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
