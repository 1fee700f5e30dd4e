"""The client of the examples: it tells what was answered, repeats what failed, and never stands in the app's way."""

import asyncio
import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai.types.chat import ChatCompletion
from support.http_service import serving
from support.inference import World, eventually
from support.project import ROOT

from pawl_cli.running.ports import any_free
from pawl_shared.topics import FEEDBACK, INFERENCES

ASKED = [{"role": "user", "content": "What is a pawl?"}]


def load() -> Any:
    """An app copies the file; it is no package."""
    path = ROOT / "examples" / "pawl_client" / "pawl_client.py"
    spec = importlib.util.spec_from_file_location("pawl_client", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pawl_client"] = module
    spec.loader.exec_module(module)
    return module


pawl_client = load()


class Server:
    """Answers by turns with what it is told, then takes everything."""

    def __init__(self, *first: int | Exception) -> None:
        self.first, self.posts = list(first), list[tuple[str, dict[str, Any], str]]()
        self.open = threading.Event()
        self.open.set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.open.wait(30)
        body = json.loads(request.content)
        self.posts.append((request.url.path, body, request.headers["idempotency-key"]))
        if self.first:
            turn = self.first.pop(0)
            if isinstance(turn, Exception):
                raise turn
            return httpx.Response(turn, headers={"retry-after": "0"})
        return httpx.Response(202, json={"inferences": [{"feedback_token": f"token of {body.get('id')}"}]})


@pytest.fixture
def client() -> Iterator[Callable[..., Any]]:
    made = []

    def make(server: Server, **options: Any) -> Any:
        made.append(pawl_client.Pawl("http://pawl", model="support", transport=httpx.MockTransport(server), **options))
        return made[-1]

    yield make
    for each in made:
        each.close(0.0)


def completion() -> ChatCompletion:
    choice = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "A catch."}}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return ChatCompletion.model_validate(
        {"id": "x", "object": "chat.completion", "created": 0, "model": "gpt-5", "choices": [choice], "usage": usage}
    )


def test_an_answer_and_what_people_think_of_it_arrive(tmp_path: Path) -> None:
    world, port = World(tmp_path), any_free()
    world.deploy(1)
    with serving(world.build(http_port=port), port) as url:
        pawl = pawl_client.Pawl(url, model="support")

        @pawl.traced(provider="openai", user=lambda given: given["who"])
        def ask(messages: Any, who: str) -> ChatCompletion:
            return completion()

        before = completion().choices[0].message  # as apps send it back with the next question
        assert ask([*ASKED, before, *ASKED], who="user-17").usage is not None
        rating = pawl.last()
        rating.feedback(thumb="down", correction="A catch for a wheel.")
        assert pawl.flush(30)
        assert rating.token()
        (logged,) = eventually(lambda: world.read(INFERENCES))
        said = world.read(FEEDBACK)
    pawl.close()
    assert str(logged.inference_id) == rating.id
    assert (logged.model, logged.provider, logged.provider_model) == ("default/support", "openai", "gpt-5")
    assert (logged.answer, logged.finish_reason, logged.answer_tokens) == ("A catch.", "length", 3)
    assert logged.subject
    assert [turn.role for turn in logged.messages] == ["user", "assistant", "user"]
    assert [(each.kind, each.session) for each in said] == [(k, logged.session) for k in ("thumb", "correction")]


def test_what_fails_is_repeated_with_the_same_key(client: Any) -> None:
    server = Server(503, httpx.ConnectError("away"), 429)
    pawl = client(server)
    rating = pawl.log(messages=ASKED, answer="A catch.")
    assert pawl.flush(30)
    assert rating.token() == f"token of {rating.id}"
    assert len(server.posts) == 4
    assert len({(path, key) for path, _, key in server.posts}) == 1


def test_what_is_refused_is_dropped_with_its_feedback(client: Any) -> None:
    server = Server(400)
    pawl = client(server)
    rating = pawl.log(messages=[], answer="")
    rating.feedback(thumb="up")
    assert pawl.flush(30)
    assert (rating.token(), pawl.dropped, len(server.posts)) == (None, 2, 1)


def test_a_pawl_that_hangs_does_not_hold_up_the_app(client: Any) -> None:
    server = Server()
    server.open.clear()
    pawl = client(server, capacity=3)

    @pawl.traced
    def ask(prompt: str) -> str:
        return prompt.upper()

    assert [ask("a") for _ in range(20)] == ["A"] * 20
    assert pawl.dropped >= 16
    server.open.set()
    assert pawl.flush(30)
    assert len(server.posts) == 20 - pawl.dropped


def test_async_functions_errors_and_strange_answers(client: Any) -> None:
    server = Server()
    pawl = client(server)

    @pawl.traced
    async def ask(prompt: str) -> str:
        if prompt == "fail":
            raise ValueError(prompt)
        return "yes"

    @pawl.traced
    def strange(prompt: str) -> object:
        return object()

    assert pawl.log(messages=[{"role": "user", "content": object()}], answer="no JSON").token(30) is None
    assert pawl.dropped == 1

    async def both() -> Any:
        assert await ask(prompt="b") == "yes"
        rating = pawl.last()
        with pytest.raises(ValueError, match="fail"):
            await ask("fail")
        return rating

    rating = asyncio.run(both())
    assert strange("c") is not None
    assert pawl.flush(30)
    first, failed = [body for _, body, _ in server.posts]
    assert first["id"] == rating.id
    assert (first["messages"], first["answer"]) == ([{"role": "user", "content": "b"}], "yes")
    assert (failed["answer"], failed["finish_reason"]) == ("", "error")
