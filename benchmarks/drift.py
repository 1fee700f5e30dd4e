"""Sessions until a fall of approval from 80 to 70 % raises the alarm, after 5,000 stable sessions.

Peers in the same run and on the same streams: a CUSUM that is told both rates, set to the same one false alarm in
100,000 sessions; and the bound ln(1e5)/KL of Lorden (1971), which nothing beats on average without knowing more.

Run: .venv/bin/python -m benchmarks.drift [--quick]
"""

from __future__ import annotations

import itertools
import sys
from datetime import UTC, datetime, timedelta
from math import log
from random import Random

import numpy as np
from benchmarks.harness import Benchmark, Run, Target, main

from pawl_monitor.domain.approval import ApprovalPolicy, ApprovalState, Observation

BEFORE, AFTER, STABLE = 0.8, 0.7, 5_000
FALSE_ALARMS = 1e-5
STREAMS = 6  # in one round
STATES = 400  # of the grid on which the CUSUM's mean time to a false alarm is solved
START = datetime(2026, 1, 1, tzinfo=UTC)


def stream(seed: int) -> list[bool]:
    """Liked or not, session by session; long enough for any detector here."""
    rng = Random(seed)
    return [rng.random() < (BEFORE if number < STABLE else AFTER) for number in range(STABLE + 6_000)]


def pawl_alarm(seed: int) -> int:
    """The number of the session at which Pawl's detector raises the alarm; false alarms start it anew."""
    policy, state, liked = ApprovalPolicy(), ApprovalState(), stream(seed)
    for number, good in enumerate(liked, 1):
        seen = Observation(f"{seed}/{number}", float(good), START + timedelta(seconds=number))
        state, decision = policy.step(state, seen)
        if decision.verdict in ("drop", "rise"):
            if decision.verdict == "drop" and number > STABLE:
                return number
            state = ApprovalState()
    return len(liked)


def increments() -> tuple[float, float]:
    """Log-likelihood ratio of one session, disliked and liked."""
    return log((1 - AFTER) / (1 - BEFORE)), log(AFTER / BEFORE)


def cusum_threshold() -> float:
    """The CUSUM's limit for the same false alarms (Brook and Evans, Biometrika 1972: a Markov chain on a grid)."""
    low, high = 1.0, 20.0
    for _ in range(24):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if time_to_false_alarm(middle) < 1 / FALSE_ALARMS else (low, middle)
    return high


def time_to_false_alarm(limit: float) -> float:
    """Mean sessions until a CUSUM that starts at 0 passes `limit` although nothing has changed."""
    disliked, liked = increments()
    width = limit / STATES
    chain = np.zeros((STATES, STATES))
    levels = (np.arange(STATES) + 0.5) * width
    for step, chance in ((disliked, 1 - BEFORE), (liked, BEFORE)):
        target = np.maximum(np.floor((levels + step) / width), 0).astype(int)
        inside = target < STATES
        np.add.at(chain, (np.nonzero(inside)[0], target[inside]), chance)
    return float(np.linalg.solve(np.eye(STATES) - chain, np.ones(STATES))[0])


def cusum_alarm(seed: int, limit: float) -> int:
    """The same for the CUSUM."""
    disliked, liked = increments()
    value = 0.0
    answers = stream(seed)
    for number, good in enumerate(answers, 1):
        value = max(0.0, value + (liked if good else disliked))
        if value >= limit:
            if number > STABLE:
                return number
            value = 0.0
    return len(answers)


def delays() -> dict[str, Run]:
    """Each round takes the next seeds, the same ones for every variant."""
    limit = cusum_threshold()
    information = AFTER * log(AFTER / BEFORE) + (1 - AFTER) * log((1 - AFTER) / (1 - BEFORE))
    rounds = {name: itertools.count() for name in ("pawl", "cusum")}

    def mean(name: str) -> float:
        first = next(rounds[name]) * STREAMS
        seeds = range(first, first + STREAMS)
        alarms = [pawl_alarm(seed) if name == "pawl" else cusum_alarm(seed, limit) for seed in seeds]
        return sum(alarm - STABLE for alarm in alarms) / STREAMS

    return {
        "pawl": lambda: mean("pawl"),
        "CUSUM told both rates": lambda: mean("cusum"),
        "ln(1e5)/KL": lambda: log(1 / FALSE_ALARMS) / information,
    }


def benchmark() -> Benchmark:
    return Benchmark(
        name="drift",
        unit="sessions to the alarm",
        variants=delays(),
        targets=[
            Target("pawl", peer="CUSUM told both rates", at_most=1.5),
            Target("pawl", peer="ln(1e5)/KL", at_most=1.0),
        ],
        libraries=["numpy"],
        rounds=25,
        quick_rounds=7,
    )


if __name__ == "__main__":
    sys.exit(main(benchmark()))
