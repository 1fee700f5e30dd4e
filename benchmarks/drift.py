"""False alarms of the detectors on stable streams, and sessions until they see a fall of approval.

Peers on the same streams: river's ADWIN, PageHinkley and KSWIN with their defaults, where river is installed; a
detector that says drift to everything; and for delays a CUSUM that is told both rates and set to one false alarm in
100,000 sessions, and Lorden's bound ln(1e5)/KL (1971). Falls come after 5,000 stable sessions. The rows "beyond what
is guaranteed" are not judged: sessions that follow from one another, and a daily cycle that no tolerance was set for.

Run: .venv/bin/python -m benchmarks.drift [--quick]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from itertools import product
from math import log
from statistics import mean
from typing import Any

from benchmarks.harness import MISSED, RESULTS, Benchmark, Target, judge, report, show
from benchmarks.support import detectors as d
from benchmarks.support.cusum import Cusum, divergence
from rich.console import Console

from pawl_monitor.domain.approval import ApprovalPolicy
from pawl_monitor.domain.output import OutputPolicy
from pawl_monitor.domain.traffic import TrafficPolicy

FALSE_ALARMS, STABLE = 1e-5, 5_000
RATES = (0.6, 0.75, 0.8, 0.9)
FALLS = ((0.6, 0.5), (0.75, 0.65), (0.8, 0.7), (0.8, 0.6), (0.9, 0.8))
LENGTH, WAYS, LONGEST = 100_000, 4, 6_000
STEPS = 30_000  # of a measurement of speed
SWING = 0.05

FALSE = "false alarms in 100,000: "
Job = tuple[str, int]


def approval(stream: Callable[[float, int, int], Iterator[float]], tolerance: float = 0.0) -> Callable[[int], int]:
    """Alarms of approval, drops and rises, in LENGTH sessions of a seed."""

    def run(seed: int) -> int:
        detector = d.Pawl(ApprovalPolicy(tolerance=tolerance), str(seed))
        return d.alarms(detector, stream(RATES[seed % len(RATES)], LENGTH, seed))

    return run


def peer(name: str, length: int = LENGTH) -> Callable[[int], float]:
    """Alarms of a peer, for LENGTH sessions."""
    return lambda seed: (
        d.alarms(d.make(name, str(seed)), d.steady(RATES[seed % len(RATES)], length, seed)) * LENGTH / length
    )


# What is run on stable streams: row -> (alarms of one seed, streams of LENGTH sessions in the full run, judged).
STABLE_ROWS: dict[str, tuple[Callable[[int], float], int]] = {
    "Pawl, approval": (approval(d.steady), 100),
    "Pawl, traffic": (lambda seed: d.alarms(d.Pawl(TrafficPolicy(), str(seed)), d.sketches(LENGTH, seed)), 10),
    "Pawl, output": (lambda seed: d.alarms(d.Pawl(OutputPolicy(), str(seed)), d.answers(LENGTH, seed)), 10),
    "Pawl, approval by users (Zipf)": (approval(d.of_users), 20),
    "Pawl, approval with a daily cycle of 5 points, tolerance 0.05": (approval(d.daily, SWING), 20),
    "beyond what is guaranteed: three sessions of a user in a row": (
        approval(lambda rate, n, seed: d.of_users(rate, n, seed, 3)),
        20,
    ),
    "beyond what is guaranteed: the daily cycle without a tolerance": (approval(d.daily), 10),
    "ADWIN": (peer("ADWIN", 20_000), 10),
    "PageHinkley": (peer("PageHinkley"), 20),
    "KSWIN": (peer("KSWIN", 5_000), 10),
    "always": (peer("always"), 1),
}
RIVALS = {"Pawl": "CUSUM", "CUSUM": "Pawl"}
DELAYED = ("Pawl", "CUSUM", "ADWIN", "PageHinkley", "KSWIN", "always")


def stable(job: Job) -> float:
    """One seed of one row."""
    row, seed = job
    return STABLE_ROWS[row][0](seed)


def delays(job: tuple[str, tuple[float, float], int]) -> list[int]:
    """Sessions from the fall to the next alarm, for each of the ways in which one stable stream goes on; none where an
    alarm came before (Pollak 1985: the mean delay, given that there was none)."""
    name, (before, after), seed = job
    detector: Any = Cusum(before, after, FALSE_ALARMS) if name == "CUSUM" else d.make(name, str(seed))
    if d.alarms(detector, d.steady(before, STABLE, seed)) and name != "always":
        return []
    found = []
    for way in range(WAYS):
        one = detector.branch(f"{seed}/{way}") if name == "Pawl" else deepcopy(detector)
        later = d.steady(after, LONGEST, 1_000_000 + WAYS * seed + way)
        found.append(next((number for number, liked in enumerate(later, 1) if one.step(liked)), LONGEST))
    return found


def speed() -> dict[str, list[float]]:
    """Steps a second of one core, five times each, in turns."""
    kinds: dict[str, tuple[Any, Callable[[int, int], Iterable[Any]]]] = {
        "approval": (ApprovalPolicy(), lambda n, seed: d.steady(0.8, n, seed)),
        "traffic": (TrafficPolicy(), d.sketches),
        "output": (OutputPolicy(), d.answers),
    }
    found = defaultdict(list)
    for turn, (name, (policy, stream)) in product(range(5), kinds.items()):
        values = list(stream(STEPS, turn))
        began = time.process_time()
        d.alarms(d.Pawl(policy, str(turn)), values)
        found[f"steps a second and core: {name}"].append(STEPS / (time.process_time() - began))
    return dict(found)


def measure(quick: bool) -> dict[str, list[float]]:
    """All rows: values by name."""
    part, streams = (10, 16) if quick else (1, 200)
    absent = () if d.has_river() else d.RIVER
    rows = {row: max(1, number // part) for row, (_, number) in STABLE_ROWS.items() if row not in absent}
    jobs = [(row, seed) for row, number in rows.items() for seed in range(number)]
    slow = (1, FALLS[2:3]) if quick else (10, FALLS)  # river's take up to a millisecond a session
    falls = [
        (name, fall, seed)
        for name in DELAYED
        if name not in absent
        for number, some in [slow if name in ("ADWIN", "KSWIN") else (streams, FALLS)]
        for fall in some
        for seed in range(number)
    ]
    values = speed()
    with ProcessPoolExecutor() as pool:
        counted = defaultdict(list)
        for (row, _), number in zip(jobs, pool.map(stable, jobs), strict=True):
            counted[row].append(number)
        delayed = defaultdict[tuple[str, tuple[float, float]], dict[int, list[int]]](dict)
        for (name, fall, seed), found in zip(falls, pool.map(delays, falls, chunksize=4), strict=True):
            delayed[name, fall][seed] = found
    values |= {FALSE + row: [mean(numbers)] * 2 for row, numbers in counted.items()}
    parts = ("Pawl, approval", "Pawl, traffic", "Pawl, output")
    values[FALSE + "Pawl, all detectors"] = [sum(mean(counted[row]) for row in parts)] * 2
    for (name, fall), by_seed in delayed.items():
        other = delayed[RIVALS[name], fall] if name in RIVALS else by_seed  # compared on the same streams
        numbers = [number for seed, found in by_seed.items() if other[seed] for number in found]
        if numbers:
            values[row_of(name, fall)] = [mean(numbers)] * 2
    for before, after in FALLS:
        values[row_of("ln(1e5)/KL", (before, after))] = [log(1 / FALSE_ALARMS) / divergence(after, before)] * 2
    return values


def row_of(name: str, fall: tuple[float, float]) -> str:
    """The row of a detector's delay."""
    return f"sessions until {fall[0]:g} → {fall[1]:g} is seen: {name}"


def targets() -> Iterator[Target]:
    """What must hold."""
    judged = ("all detectors", "approval by users (Zipf)", "approval with a daily cycle of 5 points, tolerance 0.05")
    for row in judged:
        yield Target(f"{FALSE}Pawl, {row}", at_most=1.0)
    for fall in FALLS:
        yield Target(row_of("Pawl", fall), peer=row_of("CUSUM", fall), at_most=1.5)
        yield Target(row_of("Pawl", fall), peer=row_of("ln(1e5)/KL", fall), at_most=1.0)
    for name in ("approval", "traffic", "output"):
        yield Target(f"steps a second and core: {name}", at_least=20_000)


def main() -> int:
    """Exit status: 0 all targets met, MISSED one was not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the streams")
    quick = parser.parse_args().quick
    benchmark = Benchmark("drift", "see each row", {}, list(targets()), libraries=["numpy", "river"])
    values = measure(quick)
    content = report(benchmark, values, judge(benchmark.targets, values), quick)
    content["sessions"] = {row: max(1, n // (10 if quick else 1)) * LENGTH for row, (_, n) in STABLE_ROWS.items()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "drift.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    show([content], Console())
    return 0 if all(result["met"] for result in content["results"]) else MISSED


if __name__ == "__main__":
    sys.exit(main())
