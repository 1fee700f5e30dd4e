"""The broker is killed and stays away under a load of answers and feedback: nothing that was acknowledged is lost.

Away for 60 s; with --quick for 10. While it is away, answers go on (their log waits on disk), and feedback gets a 503
with Retry-After, the first posts when their 15 s are over and the others at once.

Run: .venv/bin/python -m benchmarks.broker_away [--quick] [--away SECONDS]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import MISSED, RESULTS, Benchmark, Target, judge, report, show
from benchmarks.support.away import BrokerAway, Outcome
from rich.console import Console

QUICK, FULL = 10.0, 60.0
TIMEOUT = 15.0
AROUND = 5.0
SLOWEST = "slowest answer to a post, s"


def suffer(away: float, timeout: float) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="pawl-away-") as folder:
        trial = BrokerAway(Path(folder), timeout)
        try:
            return trial.run(away, AROUND)
        finally:
            trial.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"away for {QUICK:.0f} s")
    parser.add_argument("--away", type=float, help="how many seconds")
    options = parser.parse_args()
    away = options.away or (QUICK if options.quick else FULL)
    outcome = suffer(away, TIMEOUT)
    print(
        f"away {away:.0f} s: {len(outcome.answers)} answers and {len(outcome.feedback)} statements acknowledged, "
        f"{outcome.refused[503]} posts refused, {outcome.repeated} records repeated under their ids"
    )
    benchmark = Benchmark(
        name="broker_away",
        unit="events; seconds",
        variants={},
        targets=[
            Target("lost", at_most=0),
            Target("doubled", at_most=0),
            Target(SLOWEST, at_most=TIMEOUT + 5),
        ],
        libraries=["confluent-kafka", "uvicorn"],
    )
    values = {name: [float(value)] * 2 for name, value in {
        "lost": outcome.lost, "doubled": outcome.doubled, SLOWEST: outcome.slowest,
    }.items()}  # fmt: skip
    content = report(benchmark, values, judge(benchmark.targets, values), options.quick)
    (RESULTS / "broker_away.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    show([content], Console())
    return 0 if all(result["met"] for result in content["results"]) else MISSED


if __name__ == "__main__":
    sys.exit(main())
