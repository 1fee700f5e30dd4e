"""Interleaved benchmarks: the variants take turns in one process, so a noisy machine hurts all of them alike.

One benchmark:    .venv/bin/python -m benchmarks.codec [--quick]
All, quickly:     make bench

A benchmark module says what it compares and calls `main`. A target is a bound on a ratio to a peer of the same run
(robust against the machine) or on the value itself. Results go to benchmarks/results/NAME.json."""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
MISSED = 3
"""Exit status for a missed target, distinct from a crash (1) and wrong options (2)."""

Run = Callable[[], float]
"""Does one round of a fixed amount of work and returns its value in the benchmark's unit."""


@dataclass(frozen=True)
class Target:
    """What must hold for the median of `subject`: of its value, or of its ratio to `peer` when there is one."""

    subject: str
    peer: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def met(self, value: float) -> bool:
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        bounds = [f"≥ {self.at_least:g}"] if self.at_least is not None else []
        bounds += [f"≤ {self.at_most:g}"] if self.at_most is not None else []
        return " and ".join(bounds)


@dataclass(frozen=True)
class Benchmark:
    """Named variants of the same work, the unit of their values, and the targets; `libraries` are recorded.

    `not_measured` are the targets whose peers are not on this machine.
    """

    name: str
    unit: str
    variants: dict[str, Run]
    targets: Sequence[Target]
    libraries: Sequence[str] = ()
    rounds: int = 15
    quick_rounds: int = 5
    not_measured: Sequence[Target] = ()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises ValueError for fewer than two values."""
        if len(values) < 2:
            raise ValueError("a spread needs at least two rounds")
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    def __str__(self) -> str:
        return f"{_number(self.median)} ({_number(self.low)}–{_number(self.high)})"


@dataclass(frozen=True)
class Outcome:
    """A target beside what was measured; `ratio` is None where the target has no peer."""

    target: Target
    value: Spread
    ratio: Spread | None

    @property
    def met(self) -> bool:
        return self.target.met((self.ratio or self.value).median)


def rate(work: Callable[[], object], count: int) -> Run:
    """Turns work on `count` items into a variant whose value is items per second."""

    def run() -> float:
        start = time.perf_counter()
        work()
        return count / (time.perf_counter() - start)

    return run


def measure(variants: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Values per variant, after one round each for warming up; each round starts with another variant."""
    for run in variants.values():
        run()
    values: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            values[name].append(variants[name]())
    return values


def judge(targets: Sequence[Target], values: dict[str, list[float]]) -> list[Outcome]:
    """Ratios are taken within a round, then their median: what slows a round down slows both sides of it.

    Raises:
        KeyError: a target names a variant that was not measured.
    """
    outcomes = []
    for target in targets:
        subject = values[target.subject]
        ratio = None
        if target.peer is not None:
            ratio = Spread.of([ours / theirs for ours, theirs in zip(subject, values[target.peer], strict=True)])
        outcomes.append(Outcome(target, Spread.of(subject), ratio))
    return outcomes


def machine(libraries: Sequence[str] = ()) -> dict[str, Any]:
    """What the numbers depend on, and nothing that names the host."""
    versions = {}
    for name in libraries:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": versions,
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def report(
    benchmark: Benchmark, values: dict[str, list[float]], outcomes: Sequence[Outcome], quick: bool
) -> dict[str, Any]:
    """The content of benchmarks/results/NAME.json."""
    return {
        "name": benchmark.name,
        "date": datetime.now(UTC).date().isoformat(),
        "quick": quick,
        "unit": benchmark.unit,
        "rounds": len(next(iter(values.values()))),
        "machine": machine(benchmark.libraries),
        "variants": {name: vars(Spread.of(rounds)) for name, rounds in values.items()},
        "results": [
            {
                "subject": outcome.target.subject,
                "value": outcome.value.median,
                "peer": outcome.target.peer,
                "ratio": vars(outcome.ratio) if outcome.ratio else None,
                "target": {"at_least": outcome.target.at_least, "at_most": outcome.target.at_most},
                "met": outcome.met,
            }
            for outcome in outcomes
        ],
        "not_measured": [{"subject": target.subject, "peer": target.peer} for target in benchmark.not_measured],
    }


def show(reports: Sequence[dict[str, Any]], console: Console) -> None:
    table = Table("benchmark", "variant", "median (quartiles)", "ratio to", "target", "")
    for content in reports:
        label = f"{content['name']}, {content['unit']}"
        judged = {result["subject"] for result in content["results"]}
        for name in [name for name in content["variants"] if name not in judged]:
            table.add_row(label, name, str(Spread(**content["variants"][name])))
        for result in content["results"]:
            target = Target(result["subject"], result["peer"], **result["target"])
            value = str(Spread(**content["variants"][result["subject"]]))
            ratio = f"{result['peer']}: {Spread(**result['ratio'])}" if result["ratio"] else ""
            verdict = "[green]met[/]" if result["met"] else "[red]missed[/]"
            table.add_row(label, result["subject"], value, ratio, str(target), verdict)
        for missing in content["not_measured"]:
            table.add_row(label, missing["subject"], "", str(missing["peer"]), "", "[yellow]not measured[/]")
    console.print(table)


def main(benchmark: Benchmark, arguments: Sequence[str] | None = None, results: Path = RESULTS) -> int:
    """Runs one benchmark, prints its table, writes its result; the exit status: 0 or MISSED."""
    parser = argparse.ArgumentParser(description=f"Benchmark {benchmark.name}, in {benchmark.unit}.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, as `make bench` runs it")
    quick = parser.parse_args(arguments).quick
    values = measure(benchmark.variants, benchmark.quick_rounds if quick else benchmark.rounds)
    content = report(benchmark, values, judge(benchmark.targets, values), quick)
    results.mkdir(exist_ok=True)
    (results / f"{benchmark.name}.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    show([content], Console())
    return 0 if all(result["met"] for result in content["results"]) else MISSED


def run_all() -> int:
    """Every benchmark of this folder in its own process, quick, then one table of all."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in {"harness", "__init__"})
    reports, failed = [], []
    for name in names:
        print(f"{name} ...", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--quick"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in (0, MISSED):
            print(done.stdout, done.stderr, sep="\n")
            failed.append(name)
            continue
        reports.append(json.loads((RESULTS / f"{name}.json").read_text()))
    show(reports, Console())
    missed = [content["name"] for content in reports if not all(result["met"] for result in content["results"])]
    if failed or missed:
        print(f"failed: {', '.join(failed) or 'none'}; targets missed: {', '.join(missed) or 'none'}")
    return 1 if failed or missed else 0


if __name__ == "__main__":
    sys.exit(run_all())
