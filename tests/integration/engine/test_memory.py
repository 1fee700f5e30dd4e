"""What an answer takes is given back when it ends, and what is kept does not grow with what was asked."""

import asyncio
import contextlib
import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support.answers import GREEDY, request, together
from support.heap import glibc, in_use
from support.inference import eventually
from support.tiny_engine import BASE, GRAPH, TinyServing

from pawl_inference.engine import batching
from pawl_inference.engine.device import new_step
from pawl_inference.engine.graph import Step
from pawl_inference.engine.kv_cache import KvCache
from pawl_inference.engine.onnx_engine import OnnxEngine
from pawl_inference.engine.port import Generation, QueueFullError
from pawl_inference.engine.sequence import Sequence
from pawl_inference.engine.settings import EngineSettings
from pawl_inference.engine.text import TextCodec
from pawl_shared.models.graph_spec import read_spec

pytestmark = pytest.mark.anyio


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Only what counting references frees is freed."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_what_has_ended_does_not_wait_for_the_collector_of_cycles(tiny: TinyServing, no_collector: None) -> None:
    engine = OnnxEngine(tiny.graph_folder, GRAPH, EngineSettings(max_batch=1, max_waiting=1))
    asked = request(engine, BASE, "Hi", GREEDY, max_tokens=2)
    await together(engine, [asked, asked])
    accepted = [engine.submit(asked)]
    accepted[0].cancel()
    with contextlib.suppress(QueueFullError):
        while True:
            accepted.append(engine.submit(asked))
    await asyncio.gather(*(_read(each) for each in accepted))
    del accepted
    assert eventually(lambda: not any(type(each) is Sequence for each in gc.get_objects()))
    engine.close()


async def test_prompts_of_any_length_are_read_by_steps_that_were_bound_once(
    tiny: TinyServing, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[tuple[int, int]] = []  # row and rows

    def bind(*step: Any) -> Step:
        bound.append(step[3:5])
        return new_step(*step)

    monkeypatch.setattr(batching, "new_step", bind)
    engine = OnnxEngine(tiny.graph_folder, GRAPH, EngineSettings(max_batch=2, prefix_cache_bytes=0))
    for words in range(1, 40):
        prompts = ("Hi " * words, "Hi " * (words + 40))
        await together(engine, [request(engine, BASE, prompt, GREEDY, max_tokens=2) for prompt in prompts])
    engine.close()
    assert len(bound) == len(set(bound)) <= 3


def test_nothing_is_kept_of_a_token_that_is_met_for_the_first_time(tiny: TinyServing) -> None:
    codec, size = TextCodec(tiny.graph_folder), read_spec(tiny.graph_folder).vocab_size
    codec.piece(0)
    before = sys.getallocatedblocks()
    for token in range(size):
        codec.piece(token)
    assert size > 200
    assert sys.getallocatedblocks() - before < size / 4


async def _read(generation: Generation) -> None:
    async for _ in generation:
        pass


@glibc
def test_keys_and_values_that_are_kept_do_not_lie_on_the_heap(tiny: TinyServing) -> None:
    cache = KvCache(read_spec(tiny.graph_folder), 1, 128)
    before = in_use()
    kept = [cache.pages(64) for _ in range(20)]
    for pages in kept:
        cache.read(0, 0, pages)
    assert in_use() - before < sum(pages.nbytes for pages in kept) / 10
