"""Full load for a long time: does memory stay, do files and threads stay, does any request fail?

SmolLM2-135M-Instruct on one real inference service: sixteen clients ask without a pause, answers of all lengths, greedy
and drawn, and one in ten clients hangs up in the middle. After a warm-up of fifteen minutes (45 seconds with --quick),
memory is sampled for twenty (45 seconds), averaged over twenty spans of equal length, and a line is fitted through
those: its slope, with Student's 95 % interval, which holds as far as spans are independent of each other. In the
warm-up the cache of prompts' beginnings fills (128 MB within 40 seconds), and then what is met for the first time gets
its memory, page by page: 28 and 7 pages of 4 kB from the fifth minute to the fifteenth in two runs, of 140,000; 10 in
the next ten minutes, and 3 in the next twenty. With a warm-up of five minutes the first of these rose by 0.35 MB an
hour. So that what is left out can be judged, the line of the warm-up's last ten minutes is told, too. In simulations a
leak of 2 MB an hour is found in 300 of 300 runs of twenty minutes beside noise of 0.1 MB, also where that lasts a
minute; without a leak such noise looks like one in a tenth of them, and one step of 0.1 MB that is not taken back in
nine tenths.

Each client's first question is longer than any other one with its answer, since the rows of the cache take memory as
they grow: a row that is longer than any before would otherwise count as growth.

What must not grow is the resident memory that is the process's own (RssAnon, RssShmem). The rest of RSS is files that
are mapped: it grows by a page whenever a token is met for the first time, as the table of embeddings (108 MB) is read
from the graph's file on demand; the kernel can take that back at any time. Both are told.

Run: .venv/bin/python -m benchmarks.serving_soak [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks.harness import MISSED, RESULTS, Benchmark, Target, judge, report, show
from benchmarks.serving_decode import THREADS, graphs
from benchmarks.support.replica import Replicas
from benchmarks.support.streaming import body, stream
from rich.console import Console

QUICK_SECONDS, FULL_SECONDS = 45, 1200
QUICK_WARM, FULL_WARM = 45, 900
CLIENTS, LEAVE = 16, 0.1
SPANS = 20
STUDENT = 2.101  # two-sided 95 %, SPANS - 2 = 18 degrees of freedom
MOST_SUBJECTS, MOST_TOKENS = 40, 64
LONGEST = "a chess game"
SUBJECTS = ("a lighthouse", "two cats", "the moon", "bread", "an old train", "rain in May", LONGEST, "Lisbon")
WARMING = "the same in the warm-up's last two thirds"
SLOPE, LOW, HIGH = "own memory, slope, MB/hour", "own memory, slope, lower end", "own memory, slope, upper end"
FAILED, FILES, THREADS_GROWN = "failed requests", "open files, slope a hour, lower end", "threads, last minus first"


@dataclass
class Sample:
    """What the process holds at a moment: seconds since the start, MB, numbers."""

    at: float
    memory: float  # its own
    mapped: float  # files
    files: int
    threads: int


@dataclass
class Traffic:
    """Clients without a pause."""

    port: int
    until: float
    answers: int = 0
    tokens: int = 0
    left: int = 0
    failures: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """All clients, until the time is over."""
        await asyncio.gather(*(self._client(Random(number)) for number in range(CLIENTS)))

    async def _client(self, random: Random) -> None:
        prompt, limit = " ".join(["Tell me about", *[LONGEST] * 2 * MOST_SUBJECTS]), MOST_TOKENS  # the first of each
        while time.monotonic() < self.until:
            more = {"temperature": random.choice((0, 0.8)), "seed": random.randint(0, 1 << 30)}
            leave = random.randint(1, 8) if random.random() < LEAVE else None
            asked = body(prompt, limit, **more)
            prompt = " ".join(["Tell me about", *random.choices(SUBJECTS, k=random.randint(1, MOST_SUBJECTS))])
            limit = random.randint(8, MOST_TOKENS)
            try:
                answer = await stream(self.port, asked, leave)
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                self.failures.append(repr(error))
                continue
            if leave is not None and not answer.complete:
                self.left += 1
            elif answer.complete:
                self.answers, self.tokens = self.answers + 1, self.tokens + answer.tokens
            else:
                self.failures.append(f"status {answer.status} after {len(answer.moments)} pieces")


@dataclass(frozen=True)
class Line:
    """A slope, with the ends of its 95 % interval."""

    slope: float
    low: float
    high: float


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """The least-squares line through the means of SPANS spans of (time, value)."""
    start, end = points[0][0], points[-1][0]
    spans: list[list[tuple[float, float]]] = [[] for _ in range(SPANS)]
    for at, value in points:
        spans[min(SPANS - 1, int(SPANS * (at - start) / (end - start)))].append((at, value))
    means = [(statistics.fmean(at for at, _ in span), statistics.fmean(v for _, v in span)) for span in spans if span]
    xs, ys = [x for x, _ in means], [y for _, y in means]
    slope, intercept = statistics.linear_regression(xs, ys)
    middle = statistics.fmean(xs)
    residual = sum((y - intercept - slope * x) ** 2 for x, y in means) / (len(means) - 2)
    half = STUDENT * math.sqrt(residual / sum((x - middle) ** 2 for x in xs))
    return Line(slope, slope - half, slope + half)


def sample(pid: int, began: float) -> Sample:
    """From /proc."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    anonymous, shared, mapped = (int(status[name].split()[0]) / 1024 for name in ("RssAnon", "RssShmem", "RssFile"))
    files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Sample(time.monotonic() - began, anonymous + shared, mapped, files, int(status["Threads"]))


async def soak(replicas: Replicas, seconds: float) -> tuple[Traffic, list[Sample]]:
    """Load for so many seconds, and a sample a second (a hundred at least)."""
    began = time.monotonic()
    traffic = Traffic(replicas.ports["a"], began + seconds)
    load, samples = asyncio.create_task(traffic.run()), list[Sample]()
    while not load.done():
        if time.monotonic() < traffic.until:
            samples.append(sample(replicas.pid("a"), began))
        await asyncio.sleep(min(1.0, seconds / 200))
    await load
    return traffic, samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SECONDS} seconds measured, not {FULL_SECONDS}")
    quick = parser.parse_args().quick
    warm_up, seconds = (QUICK_WARM, QUICK_SECONDS) if quick else (FULL_WARM, FULL_SECONDS)
    with tempfile.TemporaryDirectory(prefix="pawl-soak-") as scratch:
        settings = {"PAWL_ENGINE_THREADS": str(THREADS)}
        replicas = Replicas(Path(scratch), graphs()[1], ("a",), settings)
        try:
            replicas.start()
            traffic, samples = asyncio.run(soak(replicas, warm_up + seconds))
        finally:
            replicas.close()
    return tell(traffic, samples, warm_up, quick)


def tell(traffic: Traffic, samples: list[Sample], warm_up: float, quick: bool) -> int:
    """Print and write what was found; the exit status."""
    seconds = samples[-1].at
    warm = [each for each in samples if each.at >= warm_up]
    memory = fit([(each.at / 3600, each.memory) for each in warm])
    warming = fit([(each.at / 3600, each.memory) for each in samples if warm_up / 3 <= each.at < warm_up])
    files = fit([(each.at / 3600, float(each.files)) for each in warm])
    values = {
        SLOPE: [memory.slope],
        LOW: [memory.low],
        HIGH: [memory.high],
        WARMING: [warming.slope],
        FAILED: [float(len(traffic.failures))],
        FILES: [files.low],
        THREADS_GROWN: [float(warm[-1].threads - warm[0].threads)],
        "own memory at the end, MB": [warm[-1].memory],
        "mapped files at the end, MB": [warm[-1].mapped],
        "mapped files, growth in MB": [warm[-1].mapped - warm[0].mapped],
        "warm-up that is left out, s": [float(warm_up)],
        "answers": [float(traffic.answers)],
        "clients that hung up": [float(traffic.left)],
        "tokens/s": [traffic.tokens / seconds],
    }
    values = {name: each * 2 for name, each in values.items()}
    benchmark = Benchmark(
        name="serving_soak",
        unit=f"{seconds - warm_up:.0f} s",
        variants={},
        targets=[
            Target(LOW, at_most=0),
            Target(FAILED, at_most=0),
            Target(FILES, at_most=0),
            Target(THREADS_GROWN, at_most=0),
        ],
        libraries=["onnxruntime", "fastapi", "uvicorn", "confluent-kafka"],
    )
    content = report(benchmark, values, judge(benchmark.targets, values), quick)
    content |= {"failures": traffic.failures[:20], "samples": [vars(each) for each in samples[:: len(samples) // 100]]}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "serving_soak.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    show([content], Console())
    return 0 if all(result["met"] for result in content["results"]) else MISSED


if __name__ == "__main__":
    sys.exit(main())
