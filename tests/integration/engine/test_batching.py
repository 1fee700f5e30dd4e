"""A request's answer does not depend on who shares the batch, nor on what is published meanwhile."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.answers import GREEDY, answer, one_by_one, put_together, request, together
from support.tiny_engine import BASE, GRAPH, TinyServing

from pawl_inference.engine.onnx_engine import OnnxEngine
from pawl_inference.engine.places import Places
from pawl_inference.engine.port import (
    BiasedTokenError,
    GenerationRequest,
    PromptTooLongError,
    QueueFullError,
    Sampling,
    TokenLogprob,
    UnknownVersionError,
)
from pawl_inference.engine.settings import EngineSettings

pytestmark = pytest.mark.anyio
PROMPTS = ["Hi", "Why is the sky blue?", "Tell me about dogs, cats, birds and fish. " * 4, "Ein Tee für zwei 🍵"]
WARM = Sampling(temperature=0.9, top_p=0.9, seed=11)


@pytest.fixture(scope="module", params=[8, 16])
def engine(request: pytest.FixtureRequest, tiny: TinyServing) -> Iterator[OnnxEngine]:
    engine = OnnxEngine(
        tiny.graph_folder, GRAPH, EngineSettings(max_batch=request.param, prefill_chunk=16, prefix_cache_bytes=0)
    )
    for version, path in tiny.slot_files.items():
        engine.publish(version, path)
    yield engine
    engine.close()


def all_requests(engine: OnnxEngine, versions: list[str]) -> list[GenerationRequest]:
    lengths = iter(range(5, 100))  # all different, so that rows leave at different steps
    return [
        request(engine, version, prompt, sampling, max_tokens=next(lengths))
        for sampling in (GREEDY, WARM)
        for prompt in PROMPTS
        for version in (BASE, *versions)
    ]


async def test_rows_of_a_mixed_batch_equal_each_row_alone(engine: OnnxEngine, tiny: TinyServing) -> None:
    requests = all_requests(engine, tiny.versions)
    alone = await one_by_one(engine, requests)
    assert await together(engine, requests) == alone
    assert await together(engine, requests[::-1]) == alone[::-1]
    assert len({found.text for found in alone}) > len(alone) // 2  # versions and prompts do make a difference


async def test_slots_that_are_brought_together_change_nothing(
    tiny: TinyServing, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(6, exchange=1)
    places._of = [5, 0, 3, 1, 2, 4]  # as after many moves
    monkeypatch.setattr("pawl_inference.engine.slots.Places", lambda _count: places)
    engine = OnnxEngine(tiny.graph_folder, GRAPH, EngineSettings(slots=6, prefill_chunk=16, prefix_cache_bytes=0))
    try:
        for version, path in tiny.slot_files.items():
            engine.publish(version, path)
        requests = all_requests(engine, tiny.versions)
        alone = await one_by_one(engine, requests)
        before = list(places._of)
        same = await together(engine, requests) == alone
        assert same  # a line of its own: the difference of so many answers takes minutes to be put in words
        assert places._of != before
    finally:
        engine.close()


async def test_requests_that_join_midway_change_nothing(engine: OnnxEngine, tiny: TinyServing) -> None:
    requests = all_requests(engine, tiny.versions)
    alone = await one_by_one(engine, requests)

    async def late(position: int) -> object:
        before = engine.stats().steps
        while position and engine.stats().steps < before + 3 * position and engine.stats().active:
            await asyncio.sleep(0)
        return await answer(engine, requests[position])

    assert await asyncio.gather(*(late(position) for position in range(len(requests)))) == alone


async def test_a_seed_fixes_the_answer_and_no_seed_does_not(engine: OnnxEngine) -> None:
    seeded = [request(engine, BASE, "Hi", Sampling(seed=seed)) for seed in (1, 1, 2)]
    first, again, other = await together(engine, seeded)
    assert first == again
    assert first.tokens != other.tokens
    free = await together(engine, [request(engine, BASE, "Hi", Sampling()) for _ in range(3)])
    assert len({found.tokens for found in free}) == 3


async def test_biases_are_a_rows_own(engine: OnnxEngine) -> None:
    plain, biased = Sampling(temperature=0), Sampling(temperature=0, logit_bias=((42, 100.0),))
    free, forced, again = await together(engine, [request(engine, BASE, "Hi", each) for each in (plain, biased, plain)])
    assert set(forced.tokens) == {42}
    assert free == again
    assert 42 not in free.tokens
    with pytest.raises(BiasedTokenError, match="vocabulary"):
        engine.submit(request(engine, BASE, "Hi", Sampling(logit_bias=((10**6, 1.0),))))


async def test_a_stop_string_ends_the_answer_before_it(engine: OnnxEngine) -> None:
    whole = await answer(engine, request(engine, BASE, "Hi"))
    stop = whole.text[5:8]
    found = await answer(engine, request(engine, BASE, "Hi", stop=(stop,)))
    assert (found.text, found.finish_reason) == (whole.text[: whole.text.index(stop)], "stop")
    assert len(found.tokens) < len(whole.tokens)


async def test_usage_and_the_end_of_the_context(engine: OnnxEngine) -> None:
    wanted = request(engine, BASE, "Hi", max_tokens=10_000)
    found = await answer(engine, wanted)
    assert found.usage is not None
    assert found.usage.prompt_tokens == len(wanted.prompt)
    assert found.usage.completion_tokens == len(found.tokens)
    room = engine.info.context_length - len(wanted.prompt)
    assert found.finish_reason == ("length" if len(found.tokens) == room else "stop")
    with pytest.raises(PromptTooLongError, match="shorten it"):
        engine.submit(GenerationRequest(BASE, (5,) * engine.info.context_length, 1))


async def logprobs_of(engine: OnnxEngine, wanted: GenerationRequest) -> tuple[str, list[TokenLogprob]]:
    chunks = [chunk async for chunk in engine.submit(replace(wanted, top_logprobs=3))]
    return "".join(chunk.text for chunk in chunks), [logprob for chunk in chunks for logprob in chunk.logprobs]


async def test_logprobs_are_of_the_texts_bytes(engine: OnnxEngine) -> None:
    text, found = await logprobs_of(engine, request(engine, BASE, "Hi", max_tokens=4))
    assert len(found) == 4
    assert b"".join(each.utf8 for each in found).decode(errors="replace").startswith(text)
    for each in found:
        assert (each.top[0].utf8, each.top[0].logprob) == (each.utf8, each.logprob)  # greedy: the likeliest
        assert len(each.top) == 3
        assert 0 >= each.top[0].logprob >= each.top[1].logprob


async def test_a_stop_string_has_no_logprobs(engine: OnnxEngine) -> None:
    wanted = request(engine, BASE, "Hi", max_tokens=24)
    whole, every = await logprobs_of(engine, wanted)
    stop = whole[5:8]
    text, found = await logprobs_of(engine, replace(wanted, stop=(stop,)))
    assert text == whole[: whole.index(stop)]
    assert found == every[: len(found)]
    before = b"".join(each.utf8 for each in found[:-1])
    assert len(before) < len(text.encode()) <= len(before) + len(found[-1].utf8)


async def test_extremes_of_sampling(engine: OnnxEngine) -> None:
    """What may be asked for never leaves the numbers."""
    extremes = (
        Sampling(temperature=1e-300, seed=1),
        Sampling(temperature=2.0, repetition_penalty=0.1, frequency_penalty=-2, presence_penalty=-2, seed=1),
        Sampling(temperature=2.0, repetition_penalty=10, frequency_penalty=2, top_k=1, min_p=1.0, seed=1),
    )
    wanted = [request(engine, BASE, "Hi", sampling) for sampling in extremes]
    assert all(found.error is None and found.tokens for found in await together(engine, wanted))
    greedy = await answer(engine, request(engine, BASE, "Hi"))
    assert (await answer(engine, wanted[0])).tokens == greedy.tokens


async def test_an_unknown_version_is_refused(engine: OnnxEngine) -> None:
    with pytest.raises(UnknownVersionError):
        engine.submit(request(engine, "f" * 64, "Hi"))


async def test_a_client_that_leaves_frees_its_row(engine: OnnxEngine) -> None:
    wanted = request(engine, BASE, "Hi", Sampling(seed=3), max_tokens=10_000)
    left = 0
    async for _ in engine.submit(wanted):
        left += 1
        if left == 3:
            break
    handles = [engine.submit(wanted) for _ in range(engine.info.max_batch + 2)]  # some of them wait
    for handle in handles:
        handle.cancel()
    ends = [[chunk async for chunk in handle][-1].finish_reason for handle in handles]
    assert set(ends) <= {"cancelled", "stop"}
    while engine.stats().active:
        await asyncio.sleep(0.01)
    assert engine.stats().waiting == 0


async def test_time_that_is_up_ends_a_request_and_what_it_has_said_stands(
    engine: OnnxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = request(engine, BASE, "Hi", Sampling(seed=3), max_tokens=10_000)
    late = replace(wanted, timeout_seconds=0.0)
    assert (await answer(engine, late)).finish_reason == "expired"
    accept, accepted = engine._loop._accept, 0

    def up_after_three(sequence: Any, logits: Any) -> None:
        nonlocal accepted
        accept(sequence, logits)
        accepted += 1
        if accepted == 3:
            sequence.deadline = 0.0

    with monkeypatch.context() as patch:
        patch.setattr(engine._loop, "_accept", up_after_three)
        cut = await answer(engine, wanted)
    assert cut.finish_reason == "length"
    assert len(cut.tokens) == 3
    assert (await answer(engine, wanted)).text.startswith(cut.text)


async def test_a_long_prompt_holds_up_a_running_answer_by_one_chunk_a_token(
    engine: OnnxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = engine._loop
    steps: dict[int, list[int]] = {}
    accept = loop._accept

    def noted(sequence: Any, logits: Any) -> None:
        steps.setdefault(len(sequence.request.prompt), []).append(loop.steps_run)
        accept(sequence, logits)

    monkeypatch.setattr(loop, "_accept", noted)
    running, long = request(engine, BASE, "Hi", Sampling(seed=3), max_tokens=200), tuple(range(5, 325))
    answering = engine.submit(running)
    chunks = aiter(answering)
    await anext(chunks)
    await answer(engine, GenerationRequest(BASE, long, 2))
    answering.cancel()
    async for _ in chunks:
        pass
    own = steps[len(running.prompt)]
    before = [step for step in own if step <= steps[len(long)][0]]
    assert len(before) > len(long) // 16 - 2  # the prompt's chunks, 16 tokens each, and a token between any two
    assert max(after - step for step, after in itertools.pairwise(own)) <= 2


async def test_an_engine_that_is_to_end_when_it_is_idle_cuts_no_answer(tiny: TinyServing) -> None:
    engine = OnnxEngine(tiny.graph_folder, GRAPH, EngineSettings(max_batch=1))
    try:
        wanted = request(engine, BASE, "Hi", Sampling(seed=1), max_tokens=30)
        whole = await answer(engine, wanted)
        handles = [engine.submit(wanted) for _ in range(2)]  # one runs, or is about to; one waits
        assert not engine.close_if_idle()
        assert [put_together([chunk async for chunk in handle]).tokens for handle in handles] == [whole.tokens] * 2
        while not engine.close_if_idle():
            await asyncio.sleep(0.01)
        with pytest.raises(UnknownVersionError):
            engine.submit(wanted)
    finally:
        engine.close()


async def test_a_full_queue_refuses_and_says_when_to_come_back(tiny: TinyServing) -> None:
    engine = OnnxEngine(tiny.graph_folder, GRAPH, EngineSettings(max_batch=1, max_waiting=2))
    try:
        wanted = request(engine, BASE, "Hi", Sampling(seed=1), max_tokens=300)
        handles = [engine.submit(wanted) for _ in range(2)]
        with pytest.raises(QueueFullError) as caught:
            handles.extend(engine.submit(wanted) for _ in range(20))
        assert caught.value.retry_after_seconds >= 1
        engine.close()
        ends = [[chunk async for chunk in handle][-1].finish_reason for handle in handles]
        assert ends[-1] == "cancelled"
    finally:
        engine.close()
