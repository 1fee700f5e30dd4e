"""Sessions until a fall of approval from 80 to 70 % raises the alarm, after 5,000 stable sessions.

Peers in the same run and on the same streams: a CUSUM that is told both rates, set to the same one false alarm in
100,000 sessions; and the bound ln(1e5)/KL of Lorden (1971), which nothing beats on average without knowing more.

Run: .venv/bin/python -m benchmarks.drift [--quick]
"""

from __future__ import annotations

import itertools
import statistics
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import log
from random import Random

import numpy as np
from benchmarks.harness import Benchmark, Run, Target, main

from pawl_monitor.domain.approval import ApprovalPolicy, ApprovalState
from pawl_monitor.domain.detectors import Observation

BEFORE, AFTER, STABLE = 0.8, 0.7, 5_000
FALSE_ALARMS = 1e-5
STREAMS, WAYS = 16, 6  # in one round; ways in which each stable stream goes on after the change
LONGEST = 6_000  # sessions after which an alarm is taken to be missed
STATES = 400  # of the grid on which the CUSUM's mean time to a false alarm is solved
START = datetime(2026, 1, 1, tzinfo=UTC)


def before(seed: int) -> list[bool]:
    """Liked or not, session by session, until the change."""
    rng = Random(seed)
    return [rng.random() < BEFORE for _ in range(STABLE)]


def after(seed: int, number: int) -> Iterator[tuple[int, bool]]:
    """One of the ways in which it goes on, numbered from 1."""
    rng = Random(f"{seed} {number}")
    return ((delay, rng.random() < AFTER) for delay in range(1, LONGEST + 1))


def pawl_delays(seed: int) -> list[int]:
    """Sessions from the change to the alarm of Pawl's detector; false alarms start it anew."""
    policy, learnt = ApprovalPolicy(), ApprovalState()

    def step(state: ApprovalState, number: int, liked: bool) -> tuple[ApprovalState, bool]:
        seen = Observation(f"{seed}/{number}", float(liked), START + timedelta(seconds=number))
        state, decision = policy.step(state, seen)
        assert decision is not None
        return (ApprovalState() if decision.change else state), decision.verdict == "drop"

    for number, liked in enumerate(before(seed)):
        learnt, _ = step(learnt, number, liked)
    found = []
    for way in range(WAYS):
        state, delay = learnt, LONGEST
        for delay, liked in after(seed, way):
            state, alarm = step(state, STABLE + WAYS * delay + way, liked)
            if alarm:
                break
        found.append(delay)
    return found


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
    width = limit / STATES
    chain = np.zeros((STATES, STATES))
    rows = np.arange(STATES)
    for step, chance in zip(increments(), (1 - BEFORE, BEFORE), strict=True):
        place = np.maximum(rows + step / width, 0.0)
        lower = np.floor(place).astype(int)
        # shared between the two nearest states, so that the mean step is exact: rounding it down would make the chain
        # drift away from the limit, and the limit too low (a delay of 190 instead of 230)
        for target, share in ((lower, 1 - (place - lower)), (lower + 1, place - lower)):
            inside = target < STATES
            np.add.at(chain, (rows[inside], target[inside]), chance * share[inside])
    return float(np.linalg.solve(np.eye(STATES) - chain, np.ones(STATES))[0])


def cusum_delays(seed: int, limit: float) -> list[int]:
    """The same for the CUSUM."""
    disliked, approved = increments()
    reached = 0.0
    for liked in before(seed):
        reached = max(0.0, reached + (approved if liked else disliked))
        reached = 0.0 if reached >= limit else reached
    found = []
    for way in range(WAYS):
        value, delay = reached, LONGEST
        for delay, liked in after(seed, way):  # noqa: B007 - used after the loop
            value = max(0.0, value + (approved if liked else disliked))
            if value >= limit:
                break
        found.append(delay)
    return found


def delays() -> dict[str, Run]:
    """Each round takes the next seeds, the same ones for every variant."""
    limit = cusum_threshold()
    information = AFTER * log(AFTER / BEFORE) + (1 - AFTER) * log((1 - AFTER) / (1 - BEFORE))
    rounds = {name: itertools.count() for name in ("pawl", "cusum")}

    def mean(name: str) -> float:
        first = next(rounds[name]) * STREAMS
        seeds = range(first, first + STREAMS)
        return statistics.mean(
            delay for seed in seeds for delay in (pawl_delays(seed) if name == "pawl" else cusum_delays(seed, limit))
        )

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
        rounds=15,
        quick_rounds=7,
    )


if __name__ == "__main__":
    sys.exit(main(benchmark()))
