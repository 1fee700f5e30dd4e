"""Rated sessions until a better challenger is promoted, beside the bound ln(1 / alpha) / KL.

The bound is Wald's: KL is the divergence of the two rates from the nearest pair of equal ones, so a test that knew both
rates could not be faster on average. .21 -> .75 is what a change of taste did to a small model and its repair.

Run: .venv/bin/python -m benchmarks.canary_speed [--quick]
"""

from __future__ import annotations

import itertools
import sys
from datetime import UTC, datetime
from math import log
from random import Random
from statistics import fmean

from benchmarks.harness import Benchmark, Run, Target, main

from pawl_validator.domain.canary import CanaryPolicy, CanaryState, Observation, step

CANARIES = 20  # in one round
START = datetime(2026, 1, 1, tzinfo=UTC)


def sessions_to_promote(seed: int, champion: float, challenger: float, policy: CanaryPolicy) -> int:
    """Rated sessions of one canary until its end."""
    rng, state = Random(seed), CanaryState()
    for number in itertools.count(1):
        arm = rng.random() < policy.share
        liked = float(rng.random() < (challenger if arm else champion))
        state, decision = step(policy, state, Observation(challenger=arm, reward=liked, time=START))
        if decision.action != "continue":
            return number
    raise AssertionError("a canary ends")


def mean(champion: float, challenger: float, share: float) -> Run:
    """A variant: the mean over new canaries in each round."""
    policy, rounds = CanaryPolicy(share=share), itertools.count()

    def run() -> float:
        start = next(rounds) * CANARIES
        return fmean(sessions_to_promote(s, champion, challenger, policy) for s in range(start, start + CANARIES))

    return run


def bound(champion: float, challenger: float, share: float) -> Run:
    """The least mean number of sessions that any such test needs."""
    null = (1 - share) * champion + share * challenger
    kl = sum(
        part * (p * log(p / null) + (1 - p) * log((1 - p) / (1 - null)))
        for part, p in ((1 - share, champion), (share, challenger))
    )
    return lambda: log(1 / CanaryPolicy().alpha_promote) / kl


BENCHMARK = Benchmark(
    name="canary_speed",
    unit="rated sessions to promote",
    variants={
        ".21 → .75, half of the sessions": mean(0.21, 0.75, 0.5),
        ".21 → .75, a tenth of the sessions": mean(0.21, 0.75, 0.1),
        ".80 → .90, half of the sessions": mean(0.8, 0.9, 0.5),
        "bound for .80 → .90": bound(0.8, 0.9, 0.5),
    },
    targets=(
        Target(".21 → .75, half of the sessions", at_most=60),
        Target(".21 → .75, a tenth of the sessions", at_most=175),
        Target(".80 → .90, half of the sessions", peer="bound for .80 → .90", at_most=1.3),
    ),
    rounds=15,
    quick_rounds=5,
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
