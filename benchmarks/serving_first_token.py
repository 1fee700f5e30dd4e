"""Time to the first token after a system prompt of 400 tokens and a question of 20, through the whole engine.

With one adapter: the system prompt known from an earlier request (the prefix cache has its whole chunks), and new.

Run: .venv/bin/python -m benchmarks.serving_first_token [--quick]
"""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import count

from benchmarks.harness import Benchmark, Run, Target, main
from benchmarks.serving_decode import CACHE, GRAPH, THREADS, graphs
from benchmarks.support import lora_peers

from pawl_inference.engine.onnx_engine import OnnxEngine
from pawl_inference.engine.port import GenerationRequest, Sampling
from pawl_inference.engine.settings import EngineSettings
from pawl_shared.models import tensor_file
from pawl_shared.models.graph_spec import read_spec
from pawl_validator import onnx_export

SYSTEM, QUESTION = 400, 20
KNOWN, NEW = "system prompt known", "system prompt new"


def first_token(engine: OnnxEngine, version: str, known: bool) -> Run:
    """Milliseconds. Each new system prompt differs in its first token; no question is asked twice."""
    firsts, questions = count(1000), count(2000)

    async def ask() -> float:
        begin = 999 if known else next(firsts)
        prompt = (begin, *range(500, 499 + SYSTEM), next(questions), *range(800, 799 + QUESTION))
        start = time.perf_counter()
        seconds = 0.0
        async for chunk in engine.submit(GenerationRequest(version, prompt, 1, Sampling(temperature=0))):
            seconds = seconds or time.perf_counter() - start
            if chunk.usage is not None and chunk.usage.cached_tokens and not known:
                raise AssertionError("a new system prompt came from the cache")
        return 1000 * seconds

    return lambda: asyncio.run(ask())


def benchmark() -> Benchmark:
    _, folder = graphs()
    spec = read_spec(folder)
    adapter, packed = CACHE / "first-token.adapter", CACHE / "first-token.slots"
    lora_peers.random_adapter(adapter, lora_peers.shapes(spec), 0, spec.rank)
    onnx_export.pack_adapter(adapter, folder, GRAPH, packed)
    version = tensor_file.file_digest(adapter)
    engine = OnnxEngine(folder, GRAPH, EngineSettings(threads=THREADS))
    engine.publish(version, packed)
    return Benchmark(
        name="serving_first_token",
        unit="ms",
        variants={KNOWN: first_token(engine, version, True), NEW: first_token(engine, version, False)},
        # 384 of 420 tokens need not be computed; copying them and the first decode step are left.
        targets=[Target(KNOWN, NEW, at_most=0.25)],
        libraries=["onnxruntime", "numpy"],
    )


if __name__ == "__main__":
    sys.exit(main(benchmark()))
