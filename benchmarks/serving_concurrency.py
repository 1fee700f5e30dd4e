"""One to 32 clients at once, beside llama.cpp's own server with the same model: throughput and waiting times.

SmolLM2-135M-Instruct, Pawl's int8 graph and llama.cpp's Q8_0, both through /v1/chat/completions, streamed and greedy,
with the same prompts, limits and threads, and the same number of answers at a time. Every prompt is asked once a round
and differs from all others. Pawl logs its answers to a broker; llama.cpp's server logs none. Where `llama-server` is
not installed, its part is not measured, and the output says how to get it. There is no bound: this is for comparison.

Run: .venv/bin/python -m benchmarks.serving_concurrency [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import RESULTS, Benchmark, Spread, report, show
from benchmarks.serving_decode import CACHE, THREADS, graphs
from benchmarks.support.llama_server import MISSING, LlamaServer, executable, q8_0
from benchmarks.support.replica import Replicas
from benchmarks.support.streaming import Load, clients
from rich.console import Console

LEVELS = (1, 2, 4, 8, 16, 32)
AT_ONCE, CONTEXT = 16, 1024  # answers computed at the same time by either server, and tokens of each
QUICK, FULL = (2, 24), (7, 64)  # rounds, and tokens of an answer
REQUESTS = 2  # of a client, one after the other
PAWL, LLAMA = "Pawl int8", "llama.cpp Q8_0"
TOPICS = ("the tides", "a violin", "winter roads", "bees", "old maps", "a bakery", "chess", "a river port")


def prompts(level: int, round_: int) -> list[list[str]]:
    """One list for each client; no two prompts of a run are the same from their third word on."""
    return [
        [
            f"Number {round_}{level:02}{client:02}{turn}: explain {TOPICS[(client + turn) % len(TOPICS)]} to a child, "
            "with an example from everyday life, in plain words."
            for turn in range(REQUESTS)
        ]
        for client in range(level)
    ]


def percentile(values: list[float], share: float) -> float:
    """The smallest value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def figures(load: Load) -> dict[str, float]:
    """What is told of a level."""
    first = [answer.moments[0] * 1000 for answer in load.answers if answer.moments]
    gaps = [gap * 1000 for answer in load.answers for gap in answer.gaps]
    return {
        "tokens/s": load.rate,
        "first token p50, ms": percentile(first, 0.5),
        "first token p95, ms": percentile(first, 0.95),
        "between tokens p95, ms": percentile(gaps, 0.95),
    }


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[dict[str, int]]:
    """Ports of what can be measured."""
    settings = {
        "PAWL_ENGINE_THREADS": str(THREADS),
        "PAWL_ENGINE_MAX_BATCH": str(AT_ONCE),
        "PAWL_ENGINE_MAX_WAITING": str(2 * max(LEVELS)),
    }
    replicas = Replicas(folder, graphs()[1], ("a",), settings)
    program = executable()
    model = q8_0(CACHE / "smollm2-135m.Q8_0.gguf") if program else Path()
    llama = LlamaServer(folder, program, model, threads=THREADS, slots=AT_ONCE, context=CONTEXT) if program else None
    try:
        replicas.start()
        found = {PAWL: replicas.ports["a"]}
        if llama is not None:
            llama.start()
            found[LLAMA] = llama.port
        yield found
    finally:
        if llama is not None:
            llama.close()
        replicas.close()


def measure(ports: dict[str, int], rounds: int, tokens: int) -> dict[str, list[float]]:
    """All figures of all levels, the servers in turns, after one round for warming up."""
    values: dict[str, list[float]] = {}
    for round_ in range(rounds + 1):
        for level in LEVELS:
            names = sorted(ports, reverse=bool((round_ + level) % 2))
            for name in names:
                load = asyncio.run(clients(ports[name], prompts(level, round_), tokens))
                if round_ == 0:
                    continue
                for what, value in figures(load).items():
                    values.setdefault(f"{name}, {level} clients: {what}", []).append(value)
        print(f"round {round_} of {rounds}", flush=True)
    return dict(sorted(values.items(), key=_order))


def _order(item: tuple[str, list[float]]) -> tuple[int, str, str]:
    server, rest = item[0].split(", ", 1)
    level, what = rest.split(" clients: ")
    return int(level), what, server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK[0]} rounds of {QUICK[1]} tokens")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="pawl-concurrency-") as folder, servers(Path(folder)) as ports:
        values = measure(ports, *(QUICK if quick else FULL))
    benchmark = Benchmark(
        name="serving_concurrency",
        unit="as named",
        variants={},
        targets=[],
        libraries=["onnxruntime", "fastapi", "uvicorn", "confluent-kafka"],
    )
    content = report(benchmark, values, [], quick)
    ratios = {
        f"{level} clients": Spread.of([ours / theirs for ours, theirs in zip(pawl, llama, strict=True)])
        for level in LEVELS
        if (pawl := values[f"{PAWL}, {level} clients: tokens/s"])
        and (llama := values.get(f"{LLAMA}, {level} clients: tokens/s"))
    }
    content["tokens/s, Pawl to llama.cpp"] = {level: vars(ratio) for level, ratio in ratios.items()}
    content["peer"] = "measured" if LLAMA in ports else MISSING
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "serving_concurrency.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    show([content], Console())
    for level, ratio in ratios.items():
        print(f"{level}: {ratio} times llama.cpp's tokens/s")
    if LLAMA not in ports:
        print(MISSING)
    return 0


if __name__ == "__main__":
    sys.exit(main())
