"""What two prompts begin with is computed once for each version, and nobody can tell from the answers."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import anyio
import pytest
from support.answers import GREEDY, Answer, answer, one_by_one, put_together, together
from support.tiny_engine import BASE, GRAPH, TinyServing

from pawl_inference.engine.next_turns import NextTurns, Turn
from pawl_inference.engine.onnx_engine import OnnxEngine
from pawl_inference.engine.port import GenerationRequest, Sampling
from pawl_inference.engine.settings import EngineSettings

pytestmark = pytest.mark.anyio
CHUNK = 16
TOKEN_BYTES = 2 * 2 * 2 * 16 * 4  # layers, key and value, heads, head size, float32


def engine_of(tiny: TinyServing, prefix_cache_bytes: int, chunk: int = CHUNK) -> OnnxEngine:
    settings = EngineSettings(prefill_chunk=chunk, prefix_cache_bytes=prefix_cache_bytes)
    engine = OnnxEngine(tiny.graph_folder, GRAPH, settings)
    for version, path in tiny.slot_files.items():
        engine.publish(version, path)
    return engine


@pytest.fixture
def engine(tiny: TinyServing) -> Iterator[OnnxEngine]:
    engine = engine_of(tiny, 1 << 20)
    yield engine
    engine.close()


@pytest.fixture
def without(tiny: TinyServing) -> Iterator[OnnxEngine]:
    """The same engine with nothing kept."""
    engine = engine_of(tiny, 0)
    yield engine
    engine.close()


def prompt(length: int, begin: int = 0, first: int = 5) -> tuple[int, ...]:
    """Tokens whose first `begin` ones are the same for every `first`."""
    return tuple(7 + position % 50 for position in range(begin)) + tuple(
        first + position % 40 for position in range(length - begin)
    )


def asked(tokens: tuple[int, ...], version: str = BASE, sampling: Sampling = GREEDY) -> GenerationRequest:
    return GenerationRequest(version, tokens, 12, sampling)


def cached(found: Answer) -> int:
    assert found.usage is not None
    return found.usage.cached_tokens


async def steps(engine: OnnxEngine, count: int) -> None:
    """Wait until the engine has run so many; a short prompt and its answer take one for each token of the answer."""
    with anyio.fail_after(60):
        while engine.stats().steps < count:
            await anyio.sleep(0.01)


def uncounted(found: Answer) -> Answer:
    assert found.usage is not None
    return replace(found, usage=replace(found.usage, cached_tokens=0))


@pytest.mark.parametrize(
    ("length", "saved"),
    [(CHUNK, 0), (CHUNK + 1, 0), (CHUNK + 2, CHUNK), (4 * CHUNK, 3 * CHUNK), (4 * CHUNK + 5, 4 * CHUNK)],
)
async def test_the_same_prompt_again_is_read_from_its_last_chunk(engine: OnnxEngine, length: int, saved: int) -> None:
    wanted = asked(prompt(length))
    first, again = await one_by_one(engine, [wanted, wanted])
    assert (cached(first), cached(again)) == (0, saved)
    assert uncounted(again) == first


async def test_answers_are_those_of_an_engine_that_keeps_nothing(
    engine: OnnxEngine, without: OnnxEngine, tiny: TinyServing
) -> None:
    requests = [
        asked(prompt(length, begin=3 * CHUNK, first=first), version, sampling)
        for version in (BASE, *tiny.versions)
        for first, length in ((5, 60), (9, 75), (13, 90))
        for sampling in (GREEDY, Sampling(temperature=0.9, seed=3))
    ]
    expected = await one_by_one(without, requests)
    assert not any(cached(found) for found in expected)
    found = await together(engine, requests)
    assert sum(cached(each) for each in found) >= 3 * CHUNK * len(requests) // 2
    assert [uncounted(each) for each in found] == expected


async def test_the_base_and_an_adapter_go_on_anywhere(tiny: TinyServing) -> None:
    """Prompts end at every place behind a beginning that is known, whole parts of 16 tokens of which are not read."""
    engine = engine_of(tiny, 1 << 20, chunk=64)
    bare = engine_of(tiny, 0, chunk=64)
    try:
        for version in (BASE, tiny.versions[0]):
            await answer(engine, asked(prompt(60, begin=60), version))
            for length in range(50, 90, 3):
                wanted = asked(prompt(length, begin=50, first=length), version)
                found = await answer(engine, wanted)
                assert uncounted(found) == await answer(bare, wanted)
                assert cached(found) >= min(48, length - 2) // 16 * 16
    finally:
        engine.close()
        bare.close()


async def test_no_bit_depends_on_where_a_prompt_was_cut(tiny: TinyServing) -> None:
    """Of the logits: a token that is alone in a block of attention would have others (of a head of 16: every 33rd)."""
    engine, bare = engine_of(tiny, 1 << 20, chunk=64), engine_of(tiny, 0, chunk=64)
    try:
        for length in (33, 49, 65, 97, 113, 129):
            tokens = prompt(length, first=length)
            wanted = replace(asked(tokens), top_logprobs=5)
            for known in range(CHUNK, length - 1, CHUNK):
                await answer(engine, asked((*tokens[:known], 90, 91), tiny.versions[0]))  # nothing of it is the base's
                await answer(engine, asked((*tokens[:known], 90, 91)))
                found = [chunk.logprobs async for chunk in engine.submit(wanted)]
                assert found == [chunk.logprobs async for chunk in bare.submit(wanted)], (length, known)
    finally:
        engine.close()
        bare.close()


async def test_a_prefix_belongs_to_its_version(engine: OnnxEngine, without: OnnxEngine, tiny: TinyServing) -> None:
    """Also when a swap puts another version into the same slot."""
    first, second, third = tiny.versions
    tokens = prompt(50)
    assert cached(await answer(engine, asked(tokens, first))) == 0
    assert cached(await answer(engine, asked(tokens, second))) == 0
    for version in tiny.versions:
        engine.retire(version)
    engine.publish(third, tiny.slot_files[third])  # into the slot that was the first one's
    swapped = await answer(engine, asked(tokens, third))
    assert swapped == await answer(without, asked(tokens, third))
    engine.retire(third)
    engine.publish(first, tiny.slot_files[first])
    again = await answer(engine, asked(tokens, first))
    assert cached(again) == 3 * CHUNK
    assert uncounted(again) == await answer(without, asked(tokens, first))


async def test_a_difference_anywhere_before_a_chunk_makes_it_another(engine: OnnxEngine) -> None:
    tokens = prompt(4 * CHUNK + 1)
    await answer(engine, asked(tokens))
    for position in (0, CHUNK, 3 * CHUNK):
        changed = (*tokens[:position], 90, *tokens[position + 1 :])
        assert cached(await answer(engine, asked(changed))) == position // CHUNK * CHUNK


async def test_an_answer_is_read_in_a_quiet_moment_and_the_next_turn_begins_behind_it(
    engine: OnnxEngine, without: OnnxEngine, tiny: TinyServing
) -> None:
    for version in (BASE, tiny.versions[0]):
        turn, before = asked(prompt(CHUNK), version), engine.stats().steps
        said = await answer(engine, replace(turn, max_tokens=3 * CHUNK))
        await steps(engine, before + len(said.tokens) + 3)
        following = asked((*turn.prompt, *said.tokens, 9, 8, 7), version)
        found = await answer(engine, following)
        assert cached(found) == len(turn.prompt) + len(said.tokens) == 4 * CHUNK
        assert uncounted(found) == await answer(without, following)


async def test_a_request_of_one_step_amid_that_takes_the_row_and_spoils_nothing(
    engine: OnnxEngine, without: OnnxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, asked_meanwhile = threading.Event(), threading.Event()
    go_on = NextTurns.go_on

    def wait_once(turns: NextTurns, turn: Turn) -> None:
        go_on(turns, turn)
        read.set()
        assert asked_meanwhile.wait(60)

    turn = asked(prompt(CHUNK))
    monkeypatch.setattr(NextTurns, "go_on", wait_once)
    said = await answer(engine, replace(turn, max_tokens=3 * CHUNK))
    assert await anyio.to_thread.run_sync(read.wait, 60)
    before = engine.stats().steps
    meanwhile = engine.submit(replace(asked(prompt(CHUNK, first=60)), max_tokens=1))
    asked_meanwhile.set()
    assert put_together([chunk async for chunk in meanwhile]).error is None
    await steps(engine, before + 1 + 2)
    following = asked((*turn.prompt, *said.tokens, 9, 8, 7))
    found = await answer(engine, following)
    assert cached(found) == 4 * CHUNK
    assert uncounted(found) == await answer(without, following)


async def test_nothing_is_read_of_a_version_that_serves_no_more(engine: OnnxEngine, tiny: TinyServing) -> None:
    version, before = tiny.versions[0], engine.stats().steps
    running = engine.submit(replace(asked(prompt(CHUNK), version), max_tokens=3 * CHUNK))
    engine.retire(version)
    said = put_together([chunk async for chunk in running])
    later = await answer(engine, replace(asked(prompt(CHUNK)), max_tokens=3 * CHUNK))  # to the base
    await steps(engine, before + len(said.tokens) + len(later.tokens) + 3)
    engine.publish(version, tiny.slot_files[version])
    assert cached(await answer(engine, asked((*prompt(CHUNK), *said.tokens, 9, 8, 7), version))) == CHUNK


async def test_memory_is_bounded_and_the_least_used_chunks_go_from_their_ends(tiny: TinyServing) -> None:
    engine = engine_of(tiny, 4 * CHUNK * TOKEN_BYTES)
    try:
        used, other = prompt(3 * CHUNK + 2), prompt(2 * CHUNK + 2, first=30)
        for tokens in (used, other):  # five chunks where four have room
            await answer(engine, asked(tokens))
        assert cached(await answer(engine, asked(other))) == 2 * CHUNK
        assert cached(await answer(engine, asked(used))) == 2 * CHUNK
    finally:
        engine.close()
