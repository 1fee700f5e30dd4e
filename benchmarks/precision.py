"""int8, fp16 and fp32 serving graphs of SmolLM2-135M-Instruct on the CPU: fidelity to fp32, size, memory, speed.

Fidelity is what a base's card tells (Kullback-Leibler divergence from torch in fp32 and top-1 agreement, on 64 frozen
texts). Speed is of decode steps at 256 tokens of context, the precisions in turns. Memory is what a process grows by
when it opens the graph and decodes eight rows. int8 must stay within the bounds that the parity gate sets.

Run: .venv/bin/python -m benchmarks.precision [--quick]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from benchmarks.harness import MISSED, RESULTS, Benchmark, Run, Target, judge, measure, rate, report, show
from benchmarks.serving_decode import BASE, CACHE, CONTEXT, GRAPH, THREADS
from rich.console import Console

from pawl_inference.engine.graph import ServingGraph, Step
from pawl_inference.engine.kv_cache import KvCache
from pawl_inference.engine.settings import EngineSettings
from pawl_inference.engine.slots import SlotPool
from pawl_shared.models import base_models
from pawl_shared.models.graph_spec import Precision
from pawl_shared.policies.model_policy import Gates
from pawl_validator import base_card, onnx_export

PRECISIONS: tuple[Precision, ...] = ("int8", "fp16", "fp32")
BATCHES = (1, 8)
QUICK, FULL = (3, 4), (11, 8)  # rounds, and steps of each


def base() -> Path:
    return base_models.resolve(base_models.DEFAULT_BASE, CACHE / "bases").folder


def graph_folder(precision: Precision) -> Path:
    """Its graph, exported once and kept."""
    folder = CACHE / f"precision-{precision}"
    if not folder.is_dir():
        onnx_export.export_base(base(), folder, base=BASE, precision=precision)
    return folder


def decode(graph: ServingGraph, rows: int, steps: int) -> Run:
    """Decode steps of the base, greedy."""
    cache, slots = KvCache(graph.spec, rows, 2 * CONTEXT), SlotPool(graph.spec, GRAPH, 1)
    step = Step(graph, cache, slots, 0, rows, (0, 0))
    ids = np.full((rows, 1), 500, np.int64)

    def work() -> None:
        for _ in range(steps):
            step.run(ids, [CONTEXT] * rows, [None] * rows).argmax(-1)

    return rate(work, steps * rows)


def resident() -> float:
    """MB of memory that this process holds, mapped files among it."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) / 1024


def grown(folder: Path) -> float:
    """MB by which this process grows for a graph. Run in a process of its own."""
    before = resident()
    run = decode(ServingGraph(folder, THREADS, EngineSettings().spin_microseconds), max(BATCHES), 2)
    run()
    after = resident()  # while `run` holds the graph
    return after - before


def memory(precision: Precision) -> float:
    """The same, in a new process."""
    command = [sys.executable, "-m", "benchmarks.precision", "--grown", str(graph_folder(precision))]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK[0]} rounds of {QUICK[1]} steps")
    parser.add_argument("--grown", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.grown:
        print(grown(arguments.grown))
        return 0
    rounds, steps = QUICK if arguments.quick else FULL
    values: dict[str, list[float]] = {}
    variants: dict[str, Run] = {}
    for precision in PRECISIONS:
        folder = graph_folder(precision)
        fidelity = base_card.measure(base(), folder, THREADS)
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        told = {"KL mean, nats": fidelity["kl_mean"], "KL max, nats": fidelity["kl_max"], "top-1": fidelity["top1"]}
        told |= {"on disk, MB": size, "memory, MB": memory(precision)}
        values |= {f"{precision}: {what}": [value] * rounds for what, value in told.items()}
        graph = ServingGraph(folder, THREADS, EngineSettings().spin_microseconds)
        variants |= {f"{precision}: tokens/s, batch {rows}": decode(graph, rows, steps) for rows in BATCHES}
        print(precision, told, flush=True)
    values |= measure(variants, rounds)
    gate = Gates()
    benchmark = Benchmark(
        name="precision",
        unit="as named",
        variants={},
        targets=[
            Target("int8: KL mean, nats", at_most=gate.max_parity_kl),
            Target("int8: top-1", at_least=gate.min_parity_top1),
        ],
        libraries=["onnxruntime", "onnxruntime-genai", "torch", "numpy"],
    )
    content = report(benchmark, values, judge(benchmark.targets, values), arguments.quick)
    content["positions"] = fidelity["positions"]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "precision.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    show([content], Console())
    return 0 if all(result["met"] for result in content["results"]) else MISSED


if __name__ == "__main__":
    sys.exit(main())
