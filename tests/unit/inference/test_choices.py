"""Several choices of one request: order, endings, tokens, log entries, seeds."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.inference import World, eventually, running
from unit.inference.test_http import CHAT, ask, frames, logged

from pawl_inference.bodies.chat_body import ChatRequest
from pawl_inference.domain.choices import seed_of
from pawl_inference.engine.port import GenerationChunk, GenerationRequest, QueueFullError, Usage
from pawl_inference.handlers.prompts import ChatPrompt
from pawl_inference.server import InferenceService
from pawl_shared.topics import FEEDBACK, INFERENCES


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def service(world: World) -> Iterator[InferenceService]:
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        world.engine.words = _by_seed  # type: ignore[method-assign]
        yield service


@pytest.fixture
def client(service: InferenceService) -> TestClient:
    return TestClient(service.asgi, raise_server_exceptions=False)


def _by_seed(request: GenerationRequest) -> list[str]:
    """Different seeds, different words, and different numbers of them."""
    seed = request.sampling.seed or 0
    return [f"w{seed % 97}", *["more"] * (seed % 5)]


def _texts(body: dict[str, Any]) -> list[str]:
    return [choice["message"]["content"] for choice in body["choices"]]


def test_each_choice_is_an_answer_of_its_own(client: TestClient, world: World) -> None:
    body = client.post(CHAT, json=ask(n=3, seed=5)).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert len(set(_texts(body))) == 3
    tokens = body["metadata"]["feedback_tokens"]
    assert len(set(tokens)) == 3
    assert body["metadata"]["feedback_token"] == tokens[0]
    words = sum(len(text.split()) for text in _texts(body))
    counts = {"prompt_tokens": 2, "completion_tokens": words, "total_tokens": words + 2}
    assert body["usage"] == {**counts, "prompt_tokens_details": {"cached_tokens": 0}}
    events = sorted(logged(world, 3), key=lambda event: event.choice)
    assert [event.choice for event in events] == [0, 1, 2]
    assert [event.answer for event in events] == _texts(body)
    assert len({event.id for event in events}) == 3
    assert {str(event.inference_id) for event in events} == {body["id"]}
    assert len({event.session for event in events}) == 1


def test_a_seed_fixes_each_choice_and_a_choice_can_be_made_again_by_itself(client: TestClient, world: World) -> None:
    three = _texts(client.post(CHAT, json=ask(n=3, seed=-5)).json())
    assert _texts(client.post(CHAT, json=ask(n=3, seed=-5)).json()) == three
    assert _texts(client.post(CHAT, json=ask(n=1, seed=-5)).json()) == three[:1]
    seeds = {event.choice: event.sampling.seed for event in logged(world, 7)}
    alone = [_texts(client.post(CHAT, json=ask(seed=seeds[number])).json())[0] for number in range(3)]
    assert alone == three


def test_the_seed_that_was_drawn_is_logged(client: TestClient, world: World) -> None:
    first = _texts(client.post(CHAT, json=ask()).json())
    (event,) = logged(world)
    assert _texts(client.post(CHAT, json=ask(seed=event.sampling.seed)).json()) == first
    client.post(CHAT, json=ask())
    assert len({event.sampling.seed for event in logged(world, 3)}) == 2


def test_seeds_of_choices_differ_and_fit_into_the_log() -> None:
    seeds = {seed_of(seed, number) for seed in (0, 1, -1, 2**63 - 1, -(2**63)) for number in range(8)}
    assert len(seeds) == 40
    assert all(-(2**63) <= seed < 2**63 for seed in seeds)
    assert seed_of(-7, 0) == -7


def test_a_stream_of_several_choices_interleaves_them(client: TestClient) -> None:
    plain = client.post(CHAT, json=ask(n=3, seed=4)).json()
    fields = {"n": 3, "seed": 4, "stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = frames(client.post(CHAT, json=ask(**fields)).text)
    pieces = [(chunk["choices"][0], chunk) for chunk in chunks]
    for number, whole in enumerate(plain["choices"]):
        own = [(piece, chunk) for piece, chunk in pieces if piece["index"] == number]
        assert [piece["delta"].get("role") for piece, _ in own] == ["assistant", *[None] * (len(own) - 1)]
        assert "".join(piece["delta"].get("content", "") for piece, _ in own) == whole["message"]["content"]
        ends = [chunk["metadata"] for piece, chunk in own if piece["finish_reason"]]
        assert ends == [own[-1][1]["metadata"]]
        assert ends[0]["feedback_token"] == last["metadata"]["feedback_tokens"][number]
    assert last["choices"] == []
    assert last["usage"] == plain["usage"]
    order = [piece["index"] for piece, _ in pieces]
    assert order != sorted(order), "no choice waits for another"


def test_feedback_on_a_choice_reaches_that_choice(client: TestClient, world: World) -> None:
    body = client.post(CHAT, json=ask(n=2)).json()
    tokens = body["metadata"]["feedback_tokens"]
    post = {"inference_id": body["id"], "token": tokens[1], "choice": 1}
    assert client.post("/v1/feedback", json=post | {"thumb": "up"}).status_code == 202
    assert client.post("/v1/feedback", json=post | {"thumb": "up", "choice": 0}).status_code == 403
    better = {"comparison": {"over": body["id"], "token": tokens[0], "choice": 0}}
    assert client.post("/v1/feedback", json=post | better).status_code == 202
    found = [(event.choice, event.kind, event.value) for event in world.read(FEEDBACK)]
    assert sorted(found) == [(0, "comparison", 0.0), (1, "comparison", 1.0), (1, "thumb", 1.0)]


def test_a_queue_without_room_for_all_takes_none(client: TestClient, world: World) -> None:
    submit, room = world.engine.submit, 2

    def short(request: GenerationRequest) -> Any:
        if len(world.engine.requests) == room:
            raise QueueFullError(64, 3.0)
        return submit(request)

    world.engine.submit = short  # type: ignore[method-assign]
    assert client.post(CHAT, json=ask(n=3)).status_code == 429
    assert world.engine.cancelled == room


def test_a_client_that_leaves_cancels_all_choices(service: InferenceService, world: World) -> None:
    async def scenario() -> None:
        world.engine.gate = asyncio.Event()
        body = ChatRequest.model_validate(ask(n=3))
        chunks = (await service.answers.begin(body, [ChatPrompt(body.messages)])).chunks()
        await anext(chunks)
        await chunks.aclose()

    asyncio.run(scenario())
    assert sorted(event.choice for event in logged(world, 3)) == [0, 1, 2]
    assert {event.finish_reason for event in world.read(INFERENCES)} == {"cancelled"}
    assert world.engine.cancelled == 3


def test_an_answer_that_nobody_began_to_read_is_logged_too(service: InferenceService, world: World) -> None:
    async def scenario() -> None:
        body = ChatRequest.model_validate(ask(n=2))
        answer = await service.answers.begin(body, [ChatPrompt(body.messages)])
        answer.close()
        answer.close()

    asyncio.run(scenario())
    assert [event.finish_reason for event in logged(world, 2)] == ["cancelled"] * 2


@pytest.mark.parametrize("late", [[0], [2], [0, 1], [0, 1, 2]])
def test_a_choice_whose_time_was_up_before_it_began_is_empty_beside_others(
    client: TestClient, world: World, late: list[int]
) -> None:
    submit = world.engine.submit

    def timed(request: GenerationRequest) -> Any:
        number, generation = len(world.engine.requests) % 3, submit(request)
        return Expired() if number in late else generation

    world.engine.submit = timed  # type: ignore[method-assign]
    plain, stream = client.post(CHAT, json=ask(n=3)), client.post(CHAT, json=ask(n=3, stream=True))
    events = sorted(logged(world, 6), key=lambda event: (event.inference_id, event.choice))
    assert [event.choice for event in events] == [0, 1, 2] * 2
    if len(late) == 3:
        assert [plain.json()["error"]["code"], stream.json()["error"]["code"]] == ["request_expired"] * 2
        assert {event.finish_reason for event in events} == {"cancelled"}
        return
    assert (plain.status_code, stream.status_code) == (200, 200)
    given = [(choice["message"]["content"], choice["finish_reason"]) for choice in plain.json()["choices"]]
    assert [(event.answer, event.finish_reason) for event in events[:3]] == given
    assert [given[number] for number in late] == [("", "length")] * len(late)
    assert all(text for number, (text, _) in enumerate(given) if number not in late)
    *chunks, last = frames(stream.text)
    pieces = [choice for chunk in [*chunks, last] for choice in chunk["choices"]]
    for event in events[3:]:
        own = [piece for piece in pieces if piece["index"] == event.choice]
        assert "".join(piece["delta"].get("content", "") for piece in own) == event.answer
        assert [piece["finish_reason"] for piece in own if piece["finish_reason"]] == [event.finish_reason]


class Expired:
    """A generation that is given up before its first token."""

    async def __aiter__(self) -> AsyncIterator[GenerationChunk]:
        yield GenerationChunk("", finish_reason="expired", usage=Usage(2, 0))

    def cancel(self) -> None:
        """It has ended."""


def test_one_choice_that_fails_ends_the_answer(client: TestClient, world: World) -> None:
    world.engine.fails = True
    assert client.post(CHAT, json=ask(n=3)).status_code == 500
    assert [event.finish_reason for event in logged(world, 3)] == ["cancelled"] * 3
