"""SIGKILL of the monitor and of the broker at random moments while events flow: nothing lost, nothing doubled.

60 kills over 1,000,000 events; with --quick 5 over 50,000. The moments come from a seed (--seed).

Run: .venv/bin/python -m benchmarks.ingest_crash [--quick] [--seed 1]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import MISSED, RESULTS, Benchmark, Target, judge, report, show
from benchmarks.support.ordeal import Ordeal, Outcome
from rich.console import Console

QUICK, FULL = (50_000, 5), (1_000_000, 60)
FIRST_ROW = "restart to first row, s"


def suffer(events: int, kills: int, seed: int) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="pawl-crash-") as folder:
        ordeal = Ordeal(Path(folder), sys.executable, events, seed)
        try:
            return ordeal.run(kills)
        finally:
            ordeal.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 kills over 50,000 events")
    parser.add_argument("--seed", type=int, default=1, help="draws the moments and the victims")
    options = parser.parse_args()
    events, kills = QUICK if options.quick else FULL
    outcome = suffer(events, kills, options.seed)
    print(f"seed {options.seed}: {outcome.kills} killed over {events:,} events")
    benchmark = Benchmark(
        name="ingest_crash",
        unit="events; seconds",
        variants={},
        targets=[
            Target("lost", at_most=0),
            Target("doubled", at_most=0),
            Target(FIRST_ROW, at_most=5.0),
        ],
        libraries=["confluent-kafka", "duckdb"],
    )
    values = {
        "lost": [float(outcome.lost)] * 2,
        "doubled": [float(outcome.doubled)] * 2,
        FIRST_ROW: outcome.restarts,
    }
    content = report(benchmark, values, judge(benchmark.targets, values), options.quick)
    content |= {"seed": options.seed, "kills": outcome.kills, "events": events, "restarts": outcome.restarts}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ingest_crash.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    show([content], Console())
    return 0 if all(result["met"] for result in content["results"]) else MISSED


if __name__ == "__main__":
    sys.exit(main())
