"""Histories of the whole loop under faults, and how many invariants they break: none may.

Crashes around every commit, send and piece of work; records sent twice, late and unevenly delivered; a broker that
refuses for a while; a second instance that takes over in the middle of a commit. Peer: the same histories in peace.

Run: .venv/bin/python -m benchmarks.simulation [--quick | --seed N]
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime

from benchmarks.harness import MISSED, RESULTS, machine
from benchmarks.simulated.history import Outcome, history
from rich.console import Console
from rich.table import Table

FAULTS, QUICK_FAULTS = 10_000, 1_000
PEACEFUL = 3  # histories without faults, for comparison


def until(faults: int, console: Console) -> tuple[list[Outcome], float]:
    """Histories by rising seeds until there were so many faults; and the seconds that it took."""
    outcomes: list[Outcome] = []
    began = time.perf_counter()
    while sum(sum(outcome.faults.values()) for outcome in outcomes) < faults:
        outcomes.append(history(len(outcomes)))
        if outcomes[-1].broken:
            console.print(str(outcomes[-1]), markup=False)
    return outcomes, time.perf_counter() - began


def report(outcomes: list[Outcome], seconds: float, peaceful: float, quick: bool) -> dict[str, object]:
    """The content of benchmarks/results/simulation.json."""
    kinds: Counter[str] = sum((Counter(outcome.faults) for outcome in outcomes), Counter())
    return {
        "name": "simulation",
        "date": datetime.now(UTC).date().isoformat(),
        "quick": quick,
        "unit": "faults",
        "machine": machine(),
        "histories": len(outcomes),
        "faults": kinds.total(),
        "faults_by_kind": dict(kinds.most_common()),
        "deployments": sum(outcome.decisions for outcome in outcomes),
        "seconds": seconds,
        "histories_per_minute": 60 * len(outcomes) / seconds,
        "histories_per_minute_without_faults": peaceful,
        "broken_invariants": sum(len(outcome.broken) for outcome in outcomes),
        "failing_seeds": [outcome.seed for outcome in outcomes if outcome.broken],
    }


def show(content: dict[str, object], console: Console) -> None:
    """The report as a table."""
    table = Table("simulation", "")
    for name in ("histories", "faults", "faults_by_kind", "deployments", "broken_invariants", "failing_seeds"):
        table.add_row(name.replace("_", " "), str(content[name]))
    for name in ("histories_per_minute", "histories_per_minute_without_faults"):
        table.add_row(name.replace("_", " "), f"{content[name]:.1f}")
    console.print(table)


def main(arguments: list[str]) -> int:
    """Exit status: 0 everything held, MISSED something did not, 2 wrong options."""
    console = Console()
    if arguments[:1] == ["--seed"] and arguments[1:] and arguments[1].isdigit():
        outcome = history(int(arguments[1]))
        held = f"seed {outcome.seed}, {sum(outcome.faults.values())} faults: everything held"
        console.print(str(outcome) if outcome.broken else held, markup=False)
        return MISSED if outcome.broken else 0
    if arguments not in ([], ["--quick"]):
        console.print("usage: python -m benchmarks.simulation [--quick | --seed N]")
        return 2
    quick = bool(arguments)
    began = time.perf_counter()
    calm = [history(seed, rate=0.0) for seed in range(PEACEFUL)]
    peaceful = 60 * len(calm) / (time.perf_counter() - began)
    outcomes, seconds = until(QUICK_FAULTS if quick else FAULTS, console)
    content = report([*calm, *outcomes] if any(o.broken for o in calm) else outcomes, seconds, peaceful, quick)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "simulation.json").write_text(json.dumps(content, indent=2) + "\n")
    show(content, console)
    return MISSED if content["broken_invariants"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
