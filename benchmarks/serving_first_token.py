"""Time to the first token after a system prompt of 400 tokens and a question of 20, through the whole engine.

With one adapter: the system prompt known from an earlier request (the prefix cache has its parts), and new. And a
conversation's next question after an answer of 100 tokens: at once, and after a rest in which the answer was read.

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

from pawl_inference.engine.next_turns import PAUSE_SECONDS
from pawl_inference.engine.onnx_engine import OnnxEngine
from pawl_inference.engine.port import GenerationRequest, Sampling
from pawl_inference.engine.settings import EngineSettings
from pawl_shared.models import tensor_file
from pawl_shared.models.graph_spec import read_spec
from pawl_validator import onnx_export

SYSTEM, QUESTION, ANSWER = 400, 20, 100
KNOWN_FIRST = 999
NO_END = ((2, -100.0),)  # SmolLM2's <|im_end|>
KNOWN, NEW = "system prompt known", "system prompt new"
RESTED, AT_ONCE = "next turn, after a rest", "next turn, at once"


def begun(first: int, question: int) -> tuple[int, ...]:
    """A system prompt and a question."""
    return (first, *range(500, 499 + SYSTEM), question, *range(800, 799 + QUESTION))


async def timed(engine: OnnxEngine, version: str, prompt: tuple[int, ...]) -> tuple[float, int]:
    """Milliseconds to the first token, and how many tokens of the prompt came from the cache."""
    start = time.perf_counter()
    seconds, cached = 0.0, 0
    async for chunk in engine.submit(GenerationRequest(version, prompt, 1, Sampling(temperature=0))):
        seconds = seconds or time.perf_counter() - start
        cached = chunk.usage.cached_tokens if chunk.usage else 0
    return 1000 * seconds, cached


def first_token(engine: OnnxEngine, version: str, known: bool) -> Run:
    """Milliseconds. Each new system prompt differs in its first token; no question is asked twice."""
    firsts, questions = count(1000), count(2000)

    async def ask() -> float:
        taken, cached = await timed(engine, version, begun(KNOWN_FIRST if known else next(firsts), next(questions)))
        if cached and not known:
            raise AssertionError("a new system prompt came from the cache")
        return taken

    return lambda: asyncio.run(ask())


def next_turn(engine: OnnxEngine, version: str, rest: bool) -> Run:
    """Milliseconds. A conversation's second question, at once or when the engine has come to rest after the answer."""
    questions = count(10_000 if rest else 20_000)

    async def ask() -> float:
        prompt = begun(KNOWN_FIRST, next(questions))
        asked = GenerationRequest(version, prompt, ANSWER, Sampling(temperature=0, logit_bias=NO_END))
        answer = [token async for chunk in engine.submit(asked) for token in chunk.token_ids]
        steps = -1
        while rest and steps != (steps := engine.stats().steps):
            await asyncio.sleep(3 * PAUSE_SECONDS)
        taken, cached = await timed(engine, version, (*prompt, *answer, *range(900, 900 + QUESTION)))
        if rest and cached < len(prompt) + len(answer) - 16:
            raise AssertionError(f"only {cached} tokens were known")
        return taken

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
        variants={
            KNOWN: first_token(engine, version, True),
            NEW: first_token(engine, version, False),
            RESTED: next_turn(engine, version, True),
            AT_ONCE: next_turn(engine, version, False),
        },
        # 384 of 420 tokens need not be computed; copying them and the first decode step are left.
        targets=[Target(KNOWN, NEW, at_most=0.25), Target(RESTED, AT_ONCE, at_most=0.5)],
        libraries=["onnxruntime", "numpy"],
    )


if __name__ == "__main__":
    sys.exit(main(benchmark()))
