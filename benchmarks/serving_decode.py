"""Decode speed of the serving graph beside the model builder's plain int8 graph, which carries no adapters.

SmolLM2-135M-Instruct, 256 tokens of context, greedy: one adapter for the whole batch, and base and three adapters mixed
row by row, at batch 1, 4 and 8. The graphs are made once (two minutes) and kept under .cache/benchmarks.

Run: .venv/bin/python -m benchmarks.serving_decode [--quick]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from benchmarks.harness import Benchmark, Run, Target, main, rate

from pawl_inference.engine.graph import ServingGraph, Step
from pawl_inference.engine.kv_cache import KvCache
from pawl_inference.engine.slots import SlotPool
from pawl_shared import base_models, slot_format, tensor_file
from pawl_shared.graph_spec import GRAPH_FILE, GraphSpec, read_spec
from pawl_validator import onnx_export

CACHE = Path(__file__).parents[1] / ".cache" / "benchmarks"
BASE = GRAPH = "0" * 64
CONTEXT = 256
STEPS = 8
BATCHES = (1, 4, 8)
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def graphs() -> tuple[Path, Path]:
    """Folders of the plain graph and of Pawl's."""
    plain, pawl = CACHE / "plain", CACHE / "pawl"
    base = base_models.resolve(base_models.DEFAULT_BASE, CACHE / "bases").folder
    if not plain.is_dir():
        unfinished = CACHE / "plain.partial"
        onnx_export.build(base, unfinished, "int8")
        unfinished.rename(plain)
    if not pawl.is_dir():
        onnx_export.export_base(base, pawl, base=BASE)
    return plain, pawl


def filled_slots(spec: GraphSpec, count: int) -> SlotPool:
    """Slots with random adapters on all linear layers."""
    slots = SlotPool(spec, GRAPH, count)
    for seed in range(count):
        random = np.random.default_rng(seed)
        arrays: tensor_file.Tensors = {}
        for site in spec.sites:
            for name, width in ((site.a, site.inputs), (site.b, sum(site.outputs))):
                arrays[name] = random.normal(0, 0.02, (site.blocks * spec.rank, width)).astype(np.float32)
        path = CACHE / f"{seed}.slots"
        slot_format.write_slots(path, arrays, adapter=str(seed), base=BASE, graph=GRAPH, rank=spec.rank)
        slots.activate(str(seed), slots.load(str(seed), path))
    return slots


def pawl_run(graph: ServingGraph, cache: KvCache, slots: SlotPool, rows: list[int | None]) -> Run:
    used = [slot for slot in rows if slot is not None]
    step = Step(graph, cache, slots, 0, len(rows), 1, (min(used), max(used)))
    ids = np.full((len(rows), 1), 500, np.int64)

    def work() -> None:
        for _ in range(STEPS):
            step.run(ids, [CONTEXT] * len(rows), rows).argmax(-1)

    return rate(work, STEPS * len(rows))


def plain_run(session: Any, cache: KvCache, spec: GraphSpec, rows: int) -> Run:
    binding = session.io_binding()
    inputs = {
        "input_ids": np.full((rows, 1), 500, np.int64),
        "attention_mask": np.ones((rows, CONTEXT + 1), np.int64),
    }
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data)
    shape = [rows, *cache.row_shape]
    for index, (layer, part) in enumerate(cache.names):
        pointer = cache.pointer(index, 0)
        binding.bind_input(f"past_key_values.{layer}.{part}", "cpu", 0, np.float32, shape, pointer)
        binding.bind_output(f"present.{layer}.{part}", "cpu", 0, np.float32, shape, pointer)
    logits = np.zeros((rows, 1, spec.vocab_size), np.float32)
    binding.bind_output("logits", "cpu", 0, np.float32, list(logits.shape), logits.ctypes.data)

    def work(_kept: object = inputs) -> None:
        for _ in range(STEPS):
            session.run_with_iobinding(binding)
            logits[:, 0].argmax(-1)

    return rate(work, STEPS * rows)


def benchmark() -> Benchmark:
    plain_folder, pawl_folder = graphs()
    spec = read_spec(pawl_folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(plain_folder / GRAPH_FILE), options, providers=["CPUExecutionProvider"])
    graph = ServingGraph(pawl_folder, THREADS, allow_spinning=False)
    cache, slots = KvCache(spec, max(BATCHES), 2 * CONTEXT), filled_slots(spec, 3)
    variants: dict[str, Run] = {}
    targets: list[Target] = []
    for rows in BATCHES:
        plain, one, mixed = f"plain ORT, batch {rows}", f"one adapter, batch {rows}", f"mixed, batch {rows}"
        variants[plain] = plain_run(session, cache, spec, rows)
        variants[one] = pawl_run(graph, cache, slots, [0] * rows)
        targets.append(Target(one, plain, at_least=0.80))
        if rows > 1:  # one row alone cannot mix
            mix: list[int | None] = [None, 0, 1, 2]
            variants[mixed] = pawl_run(graph, cache, slots, (mix * rows)[:rows])
            targets.append(Target(mixed, plain, at_least=0.75))
    return Benchmark(
        name="serving_decode",
        unit="tokens/s",
        variants=variants,
        targets=targets,
        libraries=["onnxruntime", "onnxruntime-genai", "numpy"],
    )


if __name__ == "__main__":
    sys.exit(main(benchmark()))
