"""Histories of the whole loop under faults, and how many invariants they break: none may.

Crashes around every commit, send and piece of work; records sent twice, late and unevenly delivered; a broker that
refuses for a while; a second instance that takes over in the middle of a commit; two workers of the streams that die,
leave, hang and lose their partitions amid a batch. Peer: the same loop in peace.

Run: .venv/bin/python -m benchmarks.simulation [--quick | --seed N]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter

from benchmarks.harness import MISSED, RESULTS, Benchmark, Target, judge, report, show
from benchmarks.simulated.history import Outcome, history
from benchmarks.simulated.world import RATE
from rich.console import Console

FAULTS, QUICK_FAULTS = 10_000, 1_000
PEACEFUL = 3  # histories without faults, for comparison
BROKEN, SUFFERED = "invariants broken", "faults"
RATES = {RATE: "histories per minute of CPU", 0.0: "histories per minute of CPU, without faults"}


def timed(seed: int, rate: float) -> tuple[Outcome, float]:
    """A history, and how many of its kind a minute of CPU gives."""
    began = time.process_time()
    outcome = history(seed, rate)
    return outcome, 60 / (time.process_time() - began)


def again(seed: int, console: Console) -> int:
    """One history, told at length."""
    outcome = history(seed)
    held = f"seed {seed}, {sum(outcome.faults.values())} faults: everything held"
    console.print(str(outcome) if outcome.broken else held, markup=False)
    return MISSED if outcome.broken else 0


def main() -> int:
    """Exit status: 0 everything held, MISSED something did not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_FAULTS:,} faults instead of {FAULTS:,}")
    parser.add_argument("--seed", type=int, help="one history again; shows its last steps if it breaks something")
    options = parser.parse_args()
    console, wanted = Console(), QUICK_FAULTS if options.quick else FAULTS
    if options.seed is not None:
        return again(options.seed, console)
    runs = [timed(seed, 0.0) for seed in range(PEACEFUL)]
    speeds: dict[str, list[float]] = {RATES[0.0]: [speed for _, speed in runs], RATES[RATE]: []}
    outcomes, faults = [outcome for outcome, _ in runs], Counter[str]()
    while faults.total() < wanted:
        outcome, speed = timed(len(outcomes) - PEACEFUL, RATE)
        outcomes.append(outcome)
        speeds[RATES[RATE]].append(speed)
        faults.update(outcome.faults)
        if outcome.broken:
            console.print(str(outcome), markup=False)
    return conclude(outcomes, faults, speeds, wanted, options.quick)


def conclude(
    outcomes: list[Outcome], faults: Counter[str], speeds: dict[str, list[float]], wanted: int, quick: bool
) -> int:
    """Write and show the result."""
    targets = [Target(BROKEN, at_most=0), Target(SUFFERED, at_least=wanted)]
    benchmark = Benchmark("simulation", "of the whole run; histories", {}, targets)
    broken = float(sum(len(outcome.broken) for outcome in outcomes))
    values = {BROKEN: [broken] * 2, SUFFERED: [float(faults.total())] * 2, **speeds}
    content = report(benchmark, values, judge(targets, values), quick)
    content |= {
        "rounds": len(outcomes),
        "faults_by_kind": dict(faults.most_common()),
        "deployments": sum(outcome.decisions for outcome in outcomes),
        "failing_seeds": [outcome.seed for outcome in outcomes if outcome.broken],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "simulation.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    show([content], Console())
    return 0 if all(result["met"] for result in content["results"]) else MISSED


if __name__ == "__main__":
    sys.exit(main())
