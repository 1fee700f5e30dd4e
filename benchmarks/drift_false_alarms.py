"""False alarms of the approval detector in 100,000 stable sessions, for each direction; only drops ask for a run.

The control is a z-test of the last 200 sessions against all before, at the 1 % level, looked at after every session:
what a dashboard with a threshold does.

Run: .venv/bin/python -m benchmarks.drift_false_alarms [--quick]
"""

from __future__ import annotations

import itertools
import sys
from collections import deque
from datetime import UTC, datetime
from math import sqrt
from random import Random

from benchmarks.harness import Benchmark, Run, Target, main

from pawl_monitor.domain.approval import ApprovalPolicy, ApprovalState
from pawl_monitor.domain.detectors import Observation

SESSIONS = 100_000
RATES = (0.6, 0.75, 0.8, 0.9)
START = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW, Z = 200, 2.576


def liked(seed: int) -> list[bool]:
    rng = Random(seed)
    rate = RATES[seed % len(RATES)]
    return [rng.random() < rate for _ in range(SESSIONS)]


def pawl(seed: int, direction: str) -> float:
    policy, state, alarms = ApprovalPolicy(), ApprovalState(), 0
    for number, good in enumerate(liked(seed)):
        state, decision = policy.step(state, Observation(f"{seed}/{number}", float(good), START))
        assert decision is not None
        if decision.change is not None:
            alarms, state = alarms + (decision.verdict == direction), ApprovalState()
    return float(alarms)


def peeking(seed: int) -> float:
    alarms, n, total = 0, 0, 0
    window: deque[bool] = deque()
    for good in liked(seed):
        window.append(good)
        if len(window) > WINDOW:
            total, n = total + window.popleft(), n + 1
        if n < WINDOW:
            continue
        mean = (total + sum(window)) / (n + WINDOW)
        spread = sqrt(mean * (1 - mean) * (1 / n + 1 / WINDOW))
        if abs(sum(window) / WINDOW - total / n) > Z * spread:
            alarms, n, total = alarms + 1, 0, 0
            window.clear()
    return float(alarms)


def variants() -> dict[str, Run]:
    seeds = {name: itertools.count() for name in ("drop", "rise", "z")}
    return {
        "pawl, drops": lambda: pawl(next(seeds["drop"]), "drop"),
        "pawl, rises": lambda: pawl(next(seeds["rise"]), "rise"),
        "peeking z-test, 1 %": lambda: peeking(next(seeds["z"])),
    }


def benchmark() -> Benchmark:
    return Benchmark(
        name="drift_false_alarms",
        unit="false alarms in 100,000 sessions",
        variants=variants(),
        targets=[Target("pawl, drops", at_most=1.0), Target("pawl, rises", at_most=1.0)],
        rounds=40,
        quick_rounds=4,
    )


if __name__ == "__main__":
    sys.exit(main(benchmark()))
