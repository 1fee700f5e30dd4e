"""Adapters swapped under load: wrong tokens, failed requests, the streams' rhythm, and how soon a swap is seen.

SmolLM2-135M-Instruct, a real broker and a real replica over HTTP. 16 clients stream answers of 16 tokens at temperature
0. One of 16 random adapters after the other becomes the champion, more than there are slots, so that most are loaded
anew. An answer is wrong when it is not, letter by letter, what the version that it names says alone. Phases with swaps
and without take turns; both are watched by the same poll of the list of models, by which a swap counts as seen.

Run: .venv/bin/python -m benchmarks.serving_swap [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness import MISSED, RESULTS, Benchmark, Target, judge, report, show
from benchmarks.serving_decode import graphs
from benchmarks.support.http_load import Connection
from benchmarks.support.swapping import PROMPTS, Clients, Replica, Streamer
from rich.console import Console

from pawl_shared.events import DeployedVersion

ADAPTERS, CLIENTS = 16, 16
SWAP_SECONDS, POLL_SECONDS = 0.5, 0.02
QUICK, FULL = (4, 20), (20, 50)  # pairs of phases, and swaps in each
SETTLE_SECONDS = 2.0  # what a phase begins with is not counted: the answers of the one before
CALM, SWAPPING = "p99 between tokens, no swaps", "p99 between tokens, a swap each 0.5 s"
SEEN, WRONG, FAILED = "seconds until a swap is seen, p99", "wrong answers", "failed requests"


@dataclass
class Watch:
    """When each version was first seen as what a new request would get."""

    port: int
    seen: dict[str, float] = field(default_factory=dict)
    over: bool = False

    async def run(self) -> None:
        connection = await Connection.to(self.port)
        with contextlib.closing(connection):
            while not self.over:
                answered = await connection.exchange(b"GET /v1/models HTTP/1.1\r\nhost: pawl\r\n\r\n")
                names = [model["id"] for model in json.loads(answered.body)["data"]]
                for name in names:
                    self.seen.setdefault(name.partition("@")[2], time.monotonic())
                await asyncio.sleep(POLL_SECONDS)


@dataclass
class Phases:
    """Turns of load with swaps and without; `values` by variant, one a phase."""

    replica: Replica
    expected: dict[tuple[str, str], str]
    values: dict[str, list[float]] = field(default_factory=lambda: {CALM: [], SWAPPING: []})
    visible: list[float] = field(default_factory=list)
    gaps: dict[str, list[float]] = field(default_factory=lambda: {CALM: [], SWAPPING: []})
    answers: int = 0
    wrong: int = 0
    failed: list[str] = field(default_factory=list)
    _next: int = 0

    async def run(self, name: str, swaps: int) -> None:
        """One phase."""
        clients, watch = Clients(self.replica.port, self.expected), Watch(self.replica.port)
        async with asyncio.TaskGroup() as group:
            load, watching = group.create_task(clients.run(CLIENTS)), group.create_task(watch.run())
            await asyncio.sleep(SETTLE_SECONDS)
            clients.gaps.clear()
            for _ in range(swaps):
                if name == SWAPPING:
                    await self._swap(watch)
                else:
                    await asyncio.sleep(SWAP_SECONDS)
            measured = list(clients.gaps)
            clients.over = True
            await load
            watch.over = True
            await watching
        self.values[name].append(p99(measured))
        self.gaps[name] += measured
        self.answers, self.wrong = self.answers + clients.answers, self.wrong + clients.wrong
        self.failed += clients.failed

    async def _swap(self, watch: Watch) -> None:
        version = self.replica.versions[self._next % ADAPTERS]
        self._next += 1
        watch.seen.pop(version.version[:12], None)
        at = await asyncio.to_thread(self.replica.deploy, version)
        give_up = at + 30
        while (seen := watch.seen.get(version.version[:12])) is None:
            if time.monotonic() > give_up:
                raise TimeoutError(f"the swap was never seen:\n{self.replica.program.log_tail()}")
            await asyncio.sleep(POLL_SECONDS / 2)
        self.visible.append(max(0.0, seen - at))
        await asyncio.sleep(max(0.0, at + SWAP_SECONDS - time.monotonic()))


async def alone(replica: Replica) -> dict[tuple[str, str], str]:
    """What each version answers to each prompt while nothing else runs."""
    expected = {}
    streamer = Streamer(replica.port)
    for version in (replica.base, *replica.versions):
        await _served(replica, version)
        for prompt in PROMPTS:
            found = await streamer.ask(prompt)
            assert found.version == version.version, "it serves"
            expected[version.version, prompt] = found.text
    streamer.close()
    return expected


async def _served(replica: Replica, version: DeployedVersion) -> None:
    watch = Watch(replica.port)
    watching = asyncio.create_task(watch.run())
    replica.deploy(version)
    while not any(version.version.startswith(prefix) for prefix in watch.seen if prefix):
        await asyncio.sleep(POLL_SECONDS)
    watch.over = True
    await watching
    await asyncio.sleep(1.0)


def p99(values: list[float]) -> float:
    """The smallest that at least 99 of 100 do not exceed."""
    ordered = sorted(values)
    return ordered[-(-99 * len(ordered) // 100) - 1]


async def measure(pairs: int, swaps: int) -> Phases:
    """All phases, beginning in turns with the one kind and the other."""
    with tempfile.TemporaryDirectory(prefix="pawl-swap-") as folder:
        replica = Replica(Path(folder), graphs()[1], ADAPTERS)
        try:
            replica.start()
            phases = Phases(replica, await alone(replica))
            for pair in range(pairs):
                for name in (CALM, SWAPPING) if pair % 2 else (SWAPPING, CALM):
                    await phases.run(name, swaps)
                    print(f"{pair + 1} of {pairs}: {name} {phases.values[name][-1]:.3f} s", flush=True)
            return phases
        finally:
            replica.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK[0] * QUICK[1]} swaps")
    quick = parser.parse_args().quick
    phases = asyncio.run(measure(*(QUICK if quick else FULL)))
    values = dict(phases.values)
    values |= {SEEN: [p99(phases.visible)] * 2, "median": phases.visible}
    values |= {WRONG: [float(phases.wrong)] * 2, FAILED: [float(len(phases.failed))] * 2}
    benchmark = Benchmark(
        name="serving_swap",
        unit="seconds",
        variants={},
        targets=[
            Target(SWAPPING, CALM, at_most=1.5),
            Target(SEEN, at_most=0.25),
            Target(WRONG, at_most=0),
            Target(FAILED, at_most=0),
        ],
        libraries=["onnxruntime", "numpy", "confluent-kafka"],
    )
    content = report(benchmark, values, judge(benchmark.targets, values), quick)
    content |= {
        "swaps": len(phases.visible),
        "slowest": sorted(((round(took, 3), n) for n, took in enumerate(phases.visible)), reverse=True)[:20],
        "answers": phases.answers,
        "failures": phases.failed[:5],
        "over_all_phases": {name: {"p50": sorted(g)[len(g) // 2], "p99": p99(g)} for name, g in phases.gaps.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "serving_swap.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    show([content], Console())
    return 0 if all(result["met"] for result in content["results"]) else MISSED


if __name__ == "__main__":
    sys.exit(main())
