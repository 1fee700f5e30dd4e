"""What HTTP, scheduling and the durable log cost, over the bare decode loop on the same graph.

SmolLM2-135M-Instruct, int8, greedy. One client: the same prompt and the same tokens (compared) as a loop that runs
prompt chunks and decode steps and takes the likeliest token, in the same number of threads. Eight clients: with the log
of answers (sealed, journal, forwarded to a broker), and without any; both ask the same process, whose log is switched
off and on, since sessions of the same graph in two processes differ by more than what the log costs.

Run: .venv/bin/python -m benchmarks.serving_overhead [--quick]
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from benchmarks.harness import Benchmark, Run, Target, main, rate
from benchmarks.serving_decode import GRAPH, THREADS, graphs
from benchmarks.support.http_load import Connection, request
from benchmarks.support.replica import Replicas
from benchmarks.support.streaming import body, clients, stream

from pawl_inference.engine import pieces
from pawl_inference.engine.chat_template import ChatTemplate
from pawl_inference.engine.device import new_cache, new_slots, new_step
from pawl_inference.engine.graph import ServingGraph
from pawl_inference.engine.settings import EngineSettings
from pawl_inference.engine.text import TextCodec

PROMPT = "Write a long story about a lighthouse keeper, his dog and the winter in which the ships did not come."
TOKENS = 96
# Clients, answers of each, one after the other, and tokens of an answer: some 6 s, since a round of 2 s tells the cost
# of the log no better than to 4 %.
CROWD, TURNS, SHORT = 8, 8, 24
REPLICA = "switched"
BARE, STREAMED, WHOLE = "bare loop, batch 1", "HTTP streamed, batch 1", "HTTP whole, batch 1"
WITH_LOG, WITHOUT_LOG = "8 clients, answers logged", "8 clients, no log"


class Bare:
    """The decode loop with nothing around it."""

    def __init__(self, folder: Path) -> None:
        settings = EngineSettings()
        self._graph = ServingGraph(folder, THREADS, settings.spin_microseconds)
        cache, slots = new_cache(self._graph, 1, 512), new_slots(self._graph, GRAPH, 1)
        codec = TextCodec(folder)
        template = ChatTemplate(folder, self._graph.spec.special_tokens)
        self._prompt = codec.encode(template.render([{"role": "user", "content": PROMPT}], None), special=False)
        cuts = pieces.free(settings.prefill_chunk)
        self._pieces = list[tuple[int, int]]()
        while not self._pieces or self._pieces[-1][1] < len(self._prompt):
            self._pieces.append(cuts.piece(len(self._prompt), self._pieces[-1][1] if self._pieces else 0))
        self._step = new_step(self._graph, cache, slots, 0, 1, (0, 0))
        self._decode = codec.decode

    def answer(self) -> str:
        """The greedy answer's text."""
        past, token, tokens = len(self._prompt), 0, list[int]()
        for start, stop in self._pieces:
            ids = np.array([self._prompt[start:stop]], np.int64)
            token = int(self._step.run(ids, [start], [None])[0].argmax())
        while True:
            tokens.append(token)
            if token in self._graph.spec.eos_token_ids or len(tokens) == TOKENS:
                return self._decode(tokens)
            token = int(self._step.run(np.array([[token]], np.int64), [past], [None])[0].argmax())
            past += 1


def one_streamed(port: int, text: str) -> Run:
    def work() -> None:
        answer = asyncio.run(stream(port, body(PROMPT, TOKENS)))
        _same(answer.text, text)

    return rate(work, TOKENS)


def one_whole(port: int, text: str) -> Run:
    async def ask() -> str:
        connection = await Connection.to(port)
        try:
            asked = body(PROMPT, TOKENS, stream=False)
            del asked["stream_options"]
            answered = await connection.exchange(request("/v1/chat/completions", asked))
        finally:
            connection.close()
        return str(json.loads(answered.body)["choices"][0]["message"]["content"])

    return rate(lambda: _same(asyncio.run(ask()), text), TOKENS)


def crowd(replicas: Replicas, *, logged: bool) -> Run:
    port, unlogged = replicas.ports[REPLICA], replicas.unlogged(REPLICA)
    prompts = [[f"{PROMPT} Begin with the number {client}{turn}." for turn in range(TURNS)] for client in range(CROWD)]

    def work() -> float:
        if not logged:
            unlogged.touch()
        try:
            return asyncio.run(clients(port, prompts, SHORT)).rate
        finally:
            unlogged.unlink(missing_ok=True)

    return work


def _same(found: str, wanted: str) -> None:
    if found != wanted:
        raise RuntimeError(f"the service and the bare loop gave different tokens: {found!r} and {wanted!r}")


def benchmark(replicas: Replicas, bare: Bare) -> Benchmark:
    text = bare.answer()
    port = replicas.ports[REPLICA]
    return Benchmark(
        name="serving_overhead",
        unit="tokens/s",
        variants={
            BARE: rate(lambda: _same(bare.answer(), text), TOKENS),
            STREAMED: one_streamed(port, text),
            WHOLE: one_whole(port, text),
            WITH_LOG: crowd(replicas, logged=True),
            WITHOUT_LOG: crowd(replicas, logged=False),
        },
        targets=[
            Target(STREAMED, BARE, at_least=0.95),
            Target(WHOLE, BARE, at_least=0.95),
            Target(WITH_LOG, WITHOUT_LOG, at_least=0.97),
        ],
        libraries=["onnxruntime", "fastapi", "uvicorn", "confluent-kafka"],
        rounds=15,
    )


def run() -> int:
    folder = graphs()[1]
    with tempfile.TemporaryDirectory(prefix="pawl-overhead-") as scratch:
        settings = {"PAWL_ENGINE_THREADS": str(THREADS)}
        replicas = Replicas(Path(scratch), folder, (REPLICA,), settings)
        try:
            replicas.start()
            return main(benchmark(replicas, Bare(folder)))
        finally:
            replicas.close()


if __name__ == "__main__":
    sys.exit(run())
