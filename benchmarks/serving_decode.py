"""Decode speed of the serving graph beside others that do the same work on the same threads.

SmolLM2-135M-Instruct, 256 tokens of context, greedy: one adapter (rank 16, all linear layers) for the whole batch, and
base and three adapters mixed row by row, at batch 1, 4, 8 and 16. Peers: the model builder's plain int8 graph on ONNX
Runtime, which carries no adapter; torch with peft (float32) and llama.cpp (Q8_0, no sampling) with the same adapter as
Pawl's. Prefill is measured in Pawl's chunks of 64 tokens beside the whole prompt at once. The graphs are made once (two
minutes) and kept under .cache/benchmarks.

Run: .venv/bin/python -m benchmarks.serving_decode [--quick]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from benchmarks.harness import Benchmark, Run, Target, main, rate
from benchmarks.support import lora_peers
from benchmarks.support.llama_server import q8_0

from pawl_inference.engine.graph import ServingGraph, Step, session_options
from pawl_inference.engine.kv_cache import KvCache
from pawl_inference.engine.settings import EngineSettings
from pawl_inference.engine.slots import SlotPool
from pawl_shared.models import base_models, lora_format, tensor_file
from pawl_shared.models.graph_spec import GRAPH_FILE, GraphSpec, read_spec
from pawl_validator import onnx_export

CACHE = Path(__file__).parents[1] / ".cache" / "benchmarks"
BASE = GRAPH = "0" * 64
CONTEXT = 256
STEPS = 8
TORCH_STEPS = 2
BATCHES = (1, 4, 8, 16)
ADAPTERS = 3
HEADS = 9  # of SmolLM2-135M's queries
SESSIONS = 5  # of each graph
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
LLAMA_AT_LEAST = 4  # from this batch on the target is llama.cpp's speed; below, it is reported


def graphs() -> tuple[Path, Path]:
    """Folders of the plain graph and of Pawl's."""
    plain, pawl = CACHE / "plain", CACHE / "pawl"
    base = base_models.resolve(base_models.DEFAULT_BASE, CACHE / "bases").folder
    if not plain.is_dir():
        unfinished = CACHE / "plain.partial"
        onnx_export.build(base, unfinished, "int8")
        unfinished.rename(plain)
    if not pawl.is_dir() or not read_spec(pawl).grouped:  # or made by an earlier version
        onnx_export.export_base(base, pawl, base=BASE)
    return plain, pawl


def adapter_path(number: int) -> Path:
    return CACHE / f"{number}.adapter"


def pack_adapters(graph_folder: Path, spec: GraphSpec) -> None:
    """Random adapters on all linear layers, kept as they are for the peers and packed for the graph."""
    for seed in range(ADAPTERS):
        lora_peers.random_adapter(adapter_path(seed), lora_peers.shapes(spec), seed, spec.rank)
        onnx_export.pack_adapter(adapter_path(seed), graph_folder, GRAPH, CACHE / f"{seed}.slots")


def filled_slots(spec: GraphSpec) -> SlotPool:
    """Slots with the adapters of `pack_adapters`."""
    slots = SlotPool(spec, GRAPH, ADAPTERS)
    for seed in range(ADAPTERS):
        version = tensor_file.file_digest(adapter_path(seed))
        slots.activate(version, slots.load(version, CACHE / f"{seed}.slots"))
    return slots


def in_turns(runs: Sequence[Run]) -> Run:
    """One variant of several sessions: each round is the next one's. They are warm when this returns."""
    for run in runs:
        run()
    turns = cycle(runs)
    return lambda: next(turns)()


def pawl_run(graph: ServingGraph, cache: KvCache, slots: SlotPool, rows: list[int | None]) -> Run:
    used = [slot for slot in rows if slot is not None]
    step = Step(graph, cache, slots, 0, len(rows), (min(used), max(used)))
    ids = np.full((len(rows), 1), 500, np.int64)

    def work() -> None:
        for _ in range(STEPS):
            step.run(ids, [CONTEXT] * len(rows), rows).argmax(-1)

    return rate(work, STEPS * len(rows))


def pawl_prefill(graph: ServingGraph, cache: KvCache, slots: SlotPool) -> Run:
    chunk = EngineSettings().prefill_chunk
    step = Step(graph, cache, slots, 0, 1, (0, 0))
    ids = np.full((1, chunk), 500, np.int64)

    def work() -> None:
        for past in range(0, CONTEXT, chunk):
            step.run(ids, [past], [0])

    return rate(work, CONTEXT)


def plain_run(session: Any, cache: KvCache, spec: GraphSpec, rows: int, *, past: int, length: int, steps: int) -> Run:
    """`steps` times `length` tokens after `past` ones."""
    binding = session.io_binding()
    inputs = {
        "input_ids": np.full((rows, length), 500, np.int64),
        "attention_mask": np.ones((rows, past + length), np.int64),
    }
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data)
    shape = [rows, *cache.row_shape]
    for index, (layer, part) in enumerate(cache.names):
        pointer = cache.pointer(index, 0)
        binding.bind_input(f"past_key_values.{layer}.{part}", "cpu", 0, np.float32, shape, pointer)
        binding.bind_output(f"present.{layer}.{part}", "cpu", 0, np.float32, shape, pointer)
    logits = np.zeros((rows, length, spec.vocab_size), np.float32)
    binding.bind_output("logits", "cpu", 0, np.float32, list(logits.shape), logits.ctypes.data)

    def work(_kept: object = inputs) -> None:
        for _ in range(steps):
            session.run_with_iobinding(binding)
            logits[:, -1].argmax(-1)

    return rate(work, steps * length * rows)


def plain_runs(folder: Path, cache: KvCache, spec: GraphSpec) -> Iterator[tuple[str, Run]]:
    """A new session of the builder's graph."""
    options = session_options(THREADS, EngineSettings().spin_microseconds)  # its threads wait as Pawl's do
    session = onnxruntime.InferenceSession(str(folder / GRAPH_FILE), options, providers=["CPUExecutionProvider"])
    for rows in BATCHES:
        yield f"plain ORT, batch {rows}", plain_run(session, cache, spec, rows, past=CONTEXT, length=1, steps=STEPS)
    yield "plain ORT, prefill at once", plain_run(session, cache, spec, 1, past=0, length=CONTEXT, steps=1)


def pawl_runs(folder: Path, cache: KvCache, spec: GraphSpec) -> Iterator[tuple[str, Run]]:
    """A new session of Pawl's graph, with slots of its own."""
    graph, slots = ServingGraph(folder, THREADS, EngineSettings().spin_microseconds), filled_slots(spec)
    mix: list[int | None] = [None, 0, 1, 2]
    for rows in BATCHES:
        yield f"one adapter, batch {rows}", pawl_run(graph, cache, slots, [0] * rows)
        if rows > 1:  # one row alone cannot mix
            yield f"mixed, batch {rows}", pawl_run(graph, cache, slots, (mix * rows)[:rows])
    yield "one adapter, prefill in chunks", pawl_prefill(graph, cache, slots)


def onnx_variants() -> dict[str, Run]:
    """Pawl's graph and the builder's plain one, decoding and reading a prompt."""
    plain_folder, pawl_folder = graphs()
    spec = read_spec(pawl_folder)
    cache = KvCache(spec, max(BATCHES), 2 * CONTEXT)
    pack_adapters(pawl_folder, spec)
    runs: dict[str, list[Run]] = {}
    for _ in range(SESSIONS):
        for make, folder in ((plain_runs, plain_folder), (pawl_runs, pawl_folder)):
            for name, run in make(folder, cache, spec):
                runs.setdefault(name, []).append(run)
    return {name: in_turns(sessions) for name, sessions in runs.items()}


def peer_variants() -> dict[str, Run]:
    """The first adapter in torch with peft, and in llama.cpp where there is one."""
    base = base_models.resolve(base_models.DEFAULT_BASE, CACHE / "bases").folder
    spec = read_spec(CACHE / "pawl")
    adapter = lora_format.read_adapter(adapter_path(0))
    model = lora_peers.load_peft(base, adapter, THREADS)
    variants = {
        f"torch + peft, batch {rows}": lora_peers.peft_run(model, rows=rows, context=CONTEXT, steps=TORCH_STEPS)
        for rows in BATCHES
    }
    program = lora_peers.batched_bench()
    if program is None:
        print(lora_peers.MISSING)
        return variants
    file = lora_peers.write_gguf(CACHE / "0.gguf", adapter, HEADS, spec.kv_heads)
    weights = q8_0(CACHE / "q8_0.gguf")

    def llama(rows: int, value: str) -> Run:
        return lora_peers.llama_run(
            program, weights, file, rows=rows, context=CONTEXT, steps=STEPS, threads=THREADS, value=value
        )

    variants |= {f"llama.cpp + LoRA, batch {rows}": llama(rows, "speed_tg") for rows in BATCHES}
    variants["llama.cpp + LoRA, prefill at once"] = llama(1, "speed_pp")
    return variants


def targets(measured: Iterable[str]) -> tuple[list[Target], list[Target]]:
    """What must hold: the targets whose peers are here, and the others."""
    wanted = []
    for rows in BATCHES:
        one, mixed, plain = f"one adapter, batch {rows}", f"mixed, batch {rows}", f"plain ORT, batch {rows}"
        wanted.append(Target(one, plain, at_least=0.80))
        if rows > 1:
            wanted.append(Target(mixed, plain, at_least=0.75))
        wanted.append(Target(one, f"torch + peft, batch {rows}", at_least=5))
        if rows >= LLAMA_AT_LEAST:
            wanted.append(Target(one, f"llama.cpp + LoRA, batch {rows}", at_least=1))
    here = [target for target in wanted if target.peer in set(measured)]
    return here, [target for target in wanted if target not in here]


def benchmark() -> Benchmark:
    variants = onnx_variants() | peer_variants()
    measured, missing = targets(variants)
    return Benchmark(
        name="serving_decode",
        unit="tokens/s",
        variants=variants,
        targets=measured,
        not_measured=missing,
        rounds=4 * SESSIONS,
        libraries=["onnxruntime", "onnxruntime-genai", "numpy", "torch", "peft", "gguf"],
        quick_rounds=SESSIONS,
    )


if __name__ == "__main__":
    sys.exit(main(benchmark()))
