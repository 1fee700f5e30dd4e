"""The HTTP API on a fake engine and a memory bus."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from httpx import ASGITransport, AsyncClient
from support.inference import BASE, CANARY, World, digest, eventually, running

from pawl_inference.api import edge
from pawl_inference.engine.port import FinishReason, GenerationRequest, UnknownVersionError
from pawl_inference.server import InferenceService
from pawl_shared.topics import FEEDBACK, INFERENCES

CHAT = "/v1/chat/completions"


def ask(text: str = "Hello there", **fields: Any) -> dict[str, Any]:
    return {"model": "assistant", "messages": [{"role": "user", "content": text}], **fields}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def service(world: World) -> Iterator[InferenceService]:
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        yield service


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, World]]:
    """One service for all tests that only ask what is refused."""
    world = World(tmp_path_factory.mktemp("calm"))
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        yield TestClient(service.asgi, raise_server_exceptions=False), world


@pytest.fixture
def client(service: InferenceService) -> TestClient:
    return TestClient(service.asgi, raise_server_exceptions=False)


def logged(world: World, count: int = 1) -> list[Any]:
    return eventually(lambda: found if len(found := world.read(INFERENCES)) >= count else None)


def frames(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


# ---------------------------------------------------------------- answers


def test_an_answer_has_openais_shape_and_pawls_metadata(client: TestClient, world: World) -> None:
    response = client.post(CHAT, json=ask(user="somebody", metadata={"session_id": "s-1", "app": "demo"}))
    assert response.status_code == 200
    body = response.json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "assistant"
    assert body["system_fingerprint"] == BASE
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": f"I am {BASE[:6]}", "refusal": None}
    assert choice["finish_reason"] == "stop"
    counts = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert body["usage"] == {**counts, "prompt_tokens_details": {"cached_tokens": 0}}
    assert body["metadata"]["inference_id"] == body["id"] == response.headers["x-request-id"]
    assert body["metadata"]["feedback_token"] == response.headers["x-pawl-feedback-token"]
    assert (response.headers["x-pawl-version"], response.headers["x-pawl-arm"]) == (BASE, "champion")
    (event,) = logged(world)
    assert str(event.inference_id) == body["id"]
    assert (event.session, event.model, event.answer) == ("s-1", "default/assistant", f"I am {BASE[:6]}")
    assert (event.arm, event.version, event.canary, event.revision) == ("champion", BASE, None, 1)
    assert (event.prompt_tokens, event.answer_tokens, event.finish_reason) == (2, 3, "stop")
    assert event.metadata == {"app": "demo"}
    assert len(event.template_version) == 64
    assert event.subject
    assert "somebody" not in event.model_dump_json()


def test_a_streamed_answer_is_the_same_in_chunks(client: TestClient, world: World) -> None:
    response = client.post(CHAT, json=ask(stream=True, stream_options={"include_usage": True}))
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = frames(response.text)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["id"] for chunk in chunks} == {response.headers["x-request-id"]}
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"])
    assert text == f"I am {BASE[:6]}"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 5
    assert chunks[-1]["metadata"] == chunks[-2]["metadata"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert logged(world)[0].answer == text


def test_sampling_and_roles_reach_the_engine(client: TestClient, world: World) -> None:
    messages = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]},
    ]
    fields = {"temperature": 0, "top_p": 0.5, "seed": 7, "stop": "END", "max_completion_tokens": 2}
    body = client.post(CHAT, json={"model": "assistant", "messages": messages, **fields}).json()
    assert body["choices"][0]["finish_reason"] == "length"
    (request,) = world.engine.requests
    assert (request.sampling.temperature, request.sampling.top_p, request.sampling.seed) == (0, 0.5, 7)
    assert (request.stop, request.max_tokens, request.version) == (("END",), 2, BASE)
    assert world.engine.conversations == [
        [{"role": "system", "content": "Be short."}, {"role": "user", "content": "one two"}]
    ]


def test_what_was_drawn_how_reaches_the_engine_and_the_log(client: TestClient, world: World) -> None:
    fields = {"temperature": 0.3, "top_p": 0.8, "top_k": 9, "min_p": 0.1, "seed": 3, "presence_penalty": 0.5}
    fields |= {"frequency_penalty": -0.5, "repetition_penalty": 1.5}
    assert client.post(CHAT, json=ask(**fields, logit_bias={"5": -100, "7": 0.5})).status_code == 200
    (request,) = world.engine.requests
    (event,) = logged(world)
    assert dict(request.sampling.logit_bias) == event.sampling.logit_bias == {5: -100, 7: 0.5}
    for name, value in fields.items():
        assert getattr(request.sampling, name) == value
        assert getattr(event.sampling, name) == value


def test_log_probabilities_in_openais_shape(client: TestClient, world: World) -> None:
    fields = {"logprobs": True, "top_logprobs": 3}
    choice = client.post(CHAT, json=ask(**fields)).json()["choices"][0]
    content = choice["logprobs"]["content"]
    assert choice["logprobs"]["refusal"] is None
    assert "".join(each["token"] for each in content) == choice["message"]["content"]
    assert content[0]["bytes"] == [ord("I")]
    assert content[0]["top_logprobs"] == [
        {"token": "I", "logprob": -0.5, "bytes": [ord("I")]},
        {"token": "bytes:\\xf0\\x9f", "logprob": -1.5, "bytes": [0xF0, 0x9F]},
        {"token": "bytes:\\xe2", "logprob": -9999.0, "bytes": [0xE2]},
    ]
    chunks = frames(client.post(CHAT, json=ask(stream=True, **fields)).text)
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [token for each in told if each for token in each["content"]] == content
    plain = client.post(CHAT, json=ask(logprobs=True)).json()["choices"][0]
    assert plain["logprobs"]["content"][0]["top_logprobs"] == []
    assert client.post(CHAT, json=ask()).json()["choices"][0]["logprobs"] is None


def test_an_answers_own_message_can_be_sent_back(client: TestClient) -> None:
    answered = {"role": "assistant", "content": "Hi.", "refusal": None, "tool_calls": None, "annotations": []}
    messages = [{"role": "user", "content": "Hello"}, answered, {"role": "user", "content": "And now?"}]
    assert client.post(CHAT, json={"model": "assistant", "messages": messages}).status_code == 200


def test_harmless_values_of_other_parameters_are_fine(client: TestClient) -> None:
    fields = {
        "frequency_penalty": 0,
        "logprobs": False,
        "response_format": {"type": "text"},
        "tools": None,
        "n": 1,
        "service_tier": "auto",
        "parallel_tool_calls": True,
    }
    assert client.post(CHAT, json=ask(**fields)).status_code == 200


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        ({"logprobs": 3}, "logprobs", "invalid_value"),
        ({"top_logprobs": 3}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"frequency_penalty": 2.5}, "frequency_penalty", "invalid_value"),
        ({"presence_penalty": -2.5}, "presence_penalty", "invalid_value"),
        ({"repetition_penalty": 0}, "repetition_penalty", "invalid_value"),
        ({"top_k": -2}, "top_k", "invalid_value"),
        ({"min_p": 1.5}, "min_p", "invalid_value"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        ({"store": True}, "store", "unsupported_parameter"),
        ({"nonsense": 1}, "nonsense", "unknown_parameter"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation", None),
        ({"messages": [{"role": "user", "content": "x", "name": "ada"}]}, "messages[0].name", "unsupported_parameter"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": 9}, "n", "invalid_value"),
        ({"n": True}, "n", "invalid_value"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"temperature": "hot"}, "temperature", "invalid_value"),
        ({"temperature": True}, "temperature", "invalid_value"),
        ({"frequency_penalty": "1"}, "frequency_penalty", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_completion_tokens", "invalid_value"),
        ({"stop": ["a"] * 5}, "stop", "invalid_value"),
        ({"stop": ""}, "stop", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "invalid_value"),
        ({"messages": "hello"}, "messages", "invalid_value"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type", None),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content", "invalid_value"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_value"),
        ({"\ud800": 1}, "?", "unknown_parameter"),
        ({"messages": [{"role": "user", "content": [{"type": "\ud800"}]}]}, "messages[0].content[0].type", None),
        ({"metadata": {"\ud800": "x"}}, "metadata", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"model": None}, "model", "invalid_value"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    calm: tuple[TestClient, World], fields: dict[str, Any], param: str | None, code: str | None
) -> None:
    client, world = calm
    response = client.post(CHAT, content=json.dumps(ask(**fields)), headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    if code:
        assert error["code"] == code
    assert error["message"]
    assert world.engine.requests == []


def test_missing_fields(calm: tuple[TestClient, World]) -> None:
    client, _ = calm
    error = client.post(CHAT, json={"model": "assistant"}).json()["error"]
    assert (error["param"], error["code"]) == ("messages", "missing_required_parameter")


@pytest.mark.parametrize("body", [b"{", b"", b"[1]", b'"x"', b"\xff\xfe", b"[" * 50_000, b"null"])
def test_bodies_that_are_no_json_object(calm: tuple[TestClient, World], body: bytes) -> None:
    client, _ = calm
    for path in (CHAT, "/v1/feedback"):
        response = client.post(path, content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400, response.text
        assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("model", ["other", "acme/assistant", "assistant@ffffff", "assistant@", "assistant@zz"])
def test_unknown_models(calm: tuple[TestClient, World], model: str) -> None:
    client, _ = calm
    response = client.post(CHAT, json=ask() | {"model": model})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    assert response.json()["error"]["param"] == "model"


def test_a_prompt_that_is_too_long(calm: tuple[TestClient, World]) -> None:
    client, _ = calm
    error = client.post(CHAT, json=ask("word " * 100)).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")


def test_a_full_queue(client: TestClient, world: World) -> None:
    world.engine.full = True
    response = client.post(CHAT, json=ask())
    assert response.status_code == 429
    assert response.headers["retry-after"] == "3"
    assert response.json()["error"]["code"] == "rate_limit_exceeded"


def test_urls_methods_and_kinds_that_do_not_exist(calm: tuple[TestClient, World]) -> None:
    client, _ = calm
    assert client.post("/v1/embeddings", json={}).json()["error"]["code"] == "unknown_url"
    assert client.get(CHAT).status_code == 405
    response = client.post(CHAT, content=b"model=assistant", headers={"content-type": "text/plain"})
    assert response.status_code == 415


def test_bodies_that_are_too_large(calm: tuple[TestClient, World]) -> None:
    client, _ = calm
    for content in (b"x" * (600 << 10), iter([b"x" * (300 << 10)] * 2)):
        response = client.post(CHAT, content=content, headers={"content-type": "application/json"})
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "request_too_large"


def test_a_body_that_stalls_is_not_waited_for(calm: tuple[TestClient, World], monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = calm
    monkeypatch.setattr(edge, "BODY_SECONDS", 0.1)
    sent: list[Any] = []
    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": CHAT, "query_string": b"", "headers": headers}
    arrived = [{"type": "http.request", "body": b'{"model":', "more_body": True}]

    async def receive() -> Any:
        return arrived.pop() if arrived else await asyncio.Future()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    start, body = sent
    assert (start["status"], (b"connection", b"close") in start["headers"]) == (408, True)
    assert json.loads(body["body"])["error"]["code"] == "request_timeout"


def test_a_request_that_finds_its_engine_closed_may_be_sent_again(client: TestClient, world: World) -> None:
    """At a shutdown, while its prompt was read: a 404 would tell the client that the model is gone for good."""

    def closed(request: GenerationRequest) -> Any:
        raise UnknownVersionError("the base is not served here any more")

    world.engine.submit = closed  # type: ignore[method-assign]
    response = client.post(CHAT, json=ask())
    assert (response.status_code, response.json()["error"]["code"]) == (503, "shutting_down")


def test_a_url_with_a_slash_too_many_is_unknown(calm: tuple[TestClient, World]) -> None:
    """Redirected, its key would go to wherever the header Host says, and without TLS behind a proxy."""
    client, _ = calm
    response = client.post(f"{CHAT}/", json=ask(), follow_redirects=False)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_url")


def test_a_method_that_is_not_allowed_is_told_which_are(calm: tuple[TestClient, World]) -> None:
    client, _ = calm
    response = client.get(CHAT)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["error"]["code"] == "method_not_allowed"


def test_an_engine_that_fails(client: TestClient, world: World) -> None:
    world.engine.fails = True
    response = client.post(CHAT, json=ask())
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"
    response = client.post(CHAT, json=ask(stream=True))
    assert response.status_code == 200, "it has begun"
    assert "server_error" in response.text
    assert "[DONE]" not in response.text
    assert [event.finish_reason for event in logged(world, 2)] == ["cancelled", "cancelled"]
    assert all(event.failed for event in logged(world, 2))


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("ends", "code", "wait"), [("expired", "request_expired", "7"), ("cancelled", "shutting_down", "2")]
)
def test_an_answer_that_ends_before_it_began_has_the_status_of_its_error(
    client: TestClient, world: World, path: str, stream: bool, ends: FinishReason, code: str, wait: str
) -> None:
    """A client's own retries need it: a stream of status 200 is an answer to them, whatever comes in it."""
    world.engine.ends = ends
    response = client.post(path, json=ask(stream=stream) | ({} if path == CHAT else {"messages": None, "prompt": "Hi"}))
    assert (response.status_code, response.headers["retry-after"]) == (503, wait)
    assert response.json()["error"]["code"] == code
    (event,) = logged(world)
    assert (event.finish_reason, event.failed) == ("cancelled", False)
    assert response.headers["x-request-id"] == str(event.inference_id)


def test_a_request_says_how_long_it_may_take_and_whose_turn_it_is(world: World) -> None:
    world.deploy(1)
    with running(world, request_timeout_seconds=60, api_keys=("one", "two")) as service:
        eventually(lambda: service.health.ready)
        client = TestClient(service.asgi)
        for key, extra in (("one", {"x-request-timeout": "2.5"}), ("two", {"x-request-timeout": "1e9"}), ("one", {})):
            headers = {"authorization": f"Bearer {key}", **extra}
            assert client.post(CHAT, json=ask(user="somebody"), headers=headers).status_code == 200
        short, *longest = [request.timeout_seconds for request in world.engine.requests]  # what is left of them by then
        assert 0 < short <= 2.5
        assert all(2.5 < seconds <= 60 for seconds in longest)
        first, second, third = [request.share for request in world.engine.requests]
        assert first == third
        assert first[0] != second[0]
        assert first[1] == second[1]


@pytest.mark.parametrize("timeout", ["soon", "0", "-1", "nan", "inf", ""])
def test_a_timeout_that_is_none(calm: tuple[TestClient, World], timeout: str) -> None:
    client, _ = calm
    response = client.post(CHAT, json=ask(), headers={"x-request-timeout": timeout})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "x-request-timeout")


# ---------------------------------------------------------------- the journal


def test_the_broker_may_be_away_while_answers_are_given(client: TestClient, world: World) -> None:
    world.bus.available = False
    ids = [client.post(CHAT, json=ask()).json()["id"] for _ in range(3)]
    assert world.read(INFERENCES) == []
    world.bus.available = True
    assert sorted(str(event.inference_id) for event in logged(world, 3)) == sorted(ids)


def test_a_full_journal_refuses_new_requests(
    client: TestClient, service: InferenceService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.journal, "_max_bytes", 0)
    response = client.post(CHAT, json=ask())
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "journal_full"
    assert "retry-after" in response.headers


def test_what_an_earlier_process_left_is_sent_by_the_next(world: World) -> None:
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        world.bus.available = False
        client = TestClient(service.asgi)
        answered = client.post(CHAT, json=ask()).json()["id"]
        service._forwarder.stop(grace=0.1)
    world.bus.available = True
    with running(world):
        assert [str(event.inference_id) for event in logged(world)] == [answered]


def test_an_answer_is_in_the_journal_before_its_last_chunk(service: InferenceService, world: World) -> None:
    async def scenario() -> None:
        answer = await service.answers.begin(*_request())
        before = service.journal.end
        async for _, chunk in answer.chunks():
            assert (service.journal.end > before) == (chunk.finish_reason is not None)

    asyncio.run(scenario())


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_others_go_on_while_a_long_prompt_is_read(service: InferenceService, world: World, path: str) -> None:
    """500,000 characters take up to 0.4 s, and were read between the pieces of all streams."""
    begun, others, engine = threading.Event(), threading.Event(), world.engine

    def slow(*_: Any) -> tuple[int, ...]:
        begun.set()
        assert others.wait(10), "nobody else is answered"
        return (1, 2)

    engine.encode_chat = engine.encode = slow  # type: ignore[method-assign,assignment]
    text = "long " * 10_000
    body = ask(text) if path == CHAT else {"model": "assistant", "prompt": text}

    async def scenario() -> None:
        async with AsyncClient(transport=ASGITransport(service.asgi), base_url="http://pawl") as client:
            long = asyncio.create_task(client.post(path, json=body))
            await asyncio.to_thread(begun.wait, 10)
            assert (await client.get("/healthz")).status_code == 200
            others.set()
            assert (await long).status_code == 200

    asyncio.run(scenario())


def test_a_client_that_leaves_cancels_its_answer_which_is_logged(service: InferenceService, world: World) -> None:
    async def scenario() -> None:
        world.engine.gate = asyncio.Event()
        chunks = (await service.answers.begin(*_request())).chunks()
        assert (await anext(chunks))[1].text == "I"
        await chunks.aclose()

    asyncio.run(scenario())
    (event,) = logged(world)
    assert (event.finish_reason, event.answer, event.answer_tokens) == ("cancelled", "I", 1)
    assert world.engine.cancelled == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_that_closes_cancels_its_answer(service: InferenceService, world: World, stream: bool) -> None:
    body = json.dumps(ask(stream=stream)).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": CHAT,
        "raw_path": CHAT.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }

    async def scenario() -> None:
        world.engine.gate = asyncio.Event()
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            while not world.engine.requests:
                await asyncio.sleep(0.001)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        await asyncio.wait_for(service.asgi(scope, receive, send), 5)

    asyncio.run(scenario())
    assert world.engine.cancelled == 1
    assert logged(world)[0].finish_reason == "cancelled"


def _request() -> Any:
    from pawl_inference.bodies.chat_body import ChatRequest
    from pawl_inference.handlers.prompts import ChatPrompt

    body = ChatRequest.model_validate(ask())
    return body, [ChatPrompt(body.messages)]


# ---------------------------------------------------------------- models, feedback, health


def test_models(client: TestClient) -> None:
    found = client.get("/v1/models").json()
    assert found["object"] == "list"
    assert [model["id"] for model in found["data"]] == ["assistant", f"assistant@{BASE[:12]}"]
    assert client.get(f"/v1/models/assistant@{BASE[:12]}").json()["id"] == f"assistant@{BASE[:12]}"
    assert client.get("/v1/models/other").status_code == 404


def test_models_tell_where_a_version_comes_from(client: TestClient, world: World) -> None:
    new = world.adapter("new").model_copy(update={"run": UUID(int=9)})
    world.deploy(2, challenger=new, canary=CANARY, share=0.25, change="canary", reasons=("better",))
    eventually(lambda: len(client.get("/v1/models").json()["data"]) == 3)
    route, *pins = client.get("/v1/models").json()["data"]
    assert (route["version"], route["base"], route["parent"], route["status"]) == (BASE, BASE, None, "champion")
    (challenger,) = [model for model in pins if model["status"] == "challenger"]
    assert (challenger["version"], challenger["parent"], challenger["share"]) == (digest("new"), BASE, 0.25)
    assert (challenger["run"], route["run"]) == (str(UUID(int=9)), None)
    made = challenger["deployment"]
    assert (made["revision"], made["change"], made["who"], made["reasons"]) == (2, "canary", "pawl", ["better"])
    assert client.get(f"/v1/models/{challenger['id']}").json() == challenger
    assert client.get("/v1/models/assistant").json() == route


def test_a_pinned_version_answers_outside_of_the_canary(client: TestClient, world: World) -> None:
    body = client.post(CHAT, json=ask() | {"model": f"assistant@{BASE[:8]}"}).json()
    assert body["metadata"]["arm"] == "pinned"
    assert logged(world)[0].arm == "pinned"


def test_feedback_round_trip(client: TestClient, world: World) -> None:
    answer = client.post(CHAT, json=ask(user="ada", metadata={"session_id": "s-1"})).json()
    post = {"inference_id": answer["id"], "token": answer["metadata"]["feedback_token"], "thumb": "up"}
    response = client.post("/v1/feedback", json=post)
    assert response.status_code == 202
    (event,) = world.read(FEEDBACK)
    assert response.json() == {"accepted": 1, "ids": [str(event.id)]}
    (answered,) = logged(world)
    assert (event.kind, event.value, event.session, event.subject) == ("thumb", 1.0, "s-1", answered.subject)
    assert event.inference_id == answered.inference_id


def test_a_batch_and_its_repeat(client: TestClient, world: World) -> None:
    answers = [client.post(CHAT, json=ask()).json() for _ in range(2)]
    events = [{"inference_id": a["id"], "token": a["metadata"]["feedback_token"], "rating": 4} for a in answers]
    events[0]["comparison"] = {"over": answers[1]["id"], "token": answers[1]["metadata"]["feedback_token"]}
    posts = [
        client.post("/v1/feedback", json={"events": events}, headers={"Idempotency-Key": "post-1"}) for _ in range(2)
    ]
    assert [post.status_code for post in posts] == [202, 202]
    assert posts[0].json() == posts[1].json()
    assert posts[0].json()["accepted"] == 4
    sent = world.read(FEEDBACK)
    assert len(sent) == 8
    assert len({(event.id, event.time) for event in sent}) == 4


def test_feedback_that_is_refused(client: TestClient, world: World) -> None:
    answer = client.post(CHAT, json=ask()).json()
    post = {"inference_id": answer["id"], "token": answer["metadata"]["feedback_token"]}
    forged = client.post("/v1/feedback", json=post | {"token": post["token"][:-2] + "xx", "thumb": "up"})
    assert forged.status_code == 403
    assert forged.json()["error"]["code"] == "invalid_feedback_token"
    for wrong, param in [({}, None), ({"rating": 9}, "rating"), ({"thumbs": "up"}, "thumbs")]:
        response = client.post("/v1/feedback", json=post | wrong)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == param
    response = client.post("/v1/feedback", json={"events": [post | {"rating": 1}, post | {"rating": "x"}]})
    assert response.json()["error"]["param"] == "events[1].rating"
    assert client.post("/v1/feedback", json={"events": []}).status_code == 400
    assert world.read(FEEDBACK) == []


@pytest.mark.parametrize("name", ["a", "bool", "item", "str", "body"])
def test_a_field_is_named_as_it_stands_in_the_body_and_not_by_a_type_of_ours(client: TestClient, name: str) -> None:
    item = {"inference_id": str(UUID(int=1)), "token": "x", "metrics": {name: float("nan")}}
    for body, param in ((item, f"metrics.{name}"), ({"events": [item]}, f"events[0].metrics.{name}")):
        content = json.dumps(body)
        response = client.post("/v1/feedback", content=content, headers={"content-type": "application/json"})
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, param)
        assert error["message"] == (
            f"Invalid value for '{param}': Input should be a valid boolean, or a finite number."
        )


def test_feedback_is_not_accepted_while_the_broker_is_away(client: TestClient, world: World) -> None:
    answer = client.post(CHAT, json=ask()).json()
    logged(world)
    world.bus.available = False
    post = {"inference_id": answer["id"], "token": answer["metadata"]["feedback_token"], "thumb": "up"}
    response = client.post("/v1/feedback", json=post, headers={"Idempotency-Key": "k"})
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "broker_unavailable"
    world.bus.available = True
    assert client.post("/v1/feedback", json=post, headers={"Idempotency-Key": "k"}).status_code == 202
    assert len(world.read(FEEDBACK)) == 1


def test_not_ready_before_the_first_deployment(world: World) -> None:
    with running(world) as service:
        client = TestClient(service.asgi)
        assert client.get("/healthz").text == "alive\n"
        response = client.get("/readyz")
        assert response.status_code == 503
        assert "waiting for the first deployment" in response.text
        response = client.post(CHAT, json=ask())
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "not_ready"
        assert client.get("/v1/models/assistant").json()["error"]["code"] == "not_ready"
        world.deploy(1)
        eventually(lambda: client.get("/readyz").status_code == 200)
        assert client.post(CHAT, json=ask()).status_code == 200


def test_a_model_whose_first_deployment_is_being_loaded_is_to_be_asked_for_again(world: World) -> None:
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        late = world.adapter("late").model_copy(update={"slot_file": digest("content that comes late")})
        world.deploy(1, model="default/coder", champion=late)
        eventually(lambda: "default/coder" in service.routes.coming)
        client = TestClient(service.asgi)
        body = ask() | {"model": "coder"}
        json_body = body | {"response_format": {"type": "json_object"}}
        answers = [client.get("/v1/models/coder"), client.post(CHAT, json=body), client.post(CHAT, json=json_body)]
        assert [answer.status_code for answer in answers] == [503] * 3
        assert {answer.json()["error"]["code"] for answer in answers} == {"model_loading"}
        assert {answer.headers["retry-after"] for answer in answers} == {"5"}
        assert client.get("/readyz").status_code == 200
        assert client.post(CHAT, json=ask()).status_code == 200


def test_metrics(client: TestClient) -> None:
    client.post(CHAT, json=ask())
    text = client.get("/metrics").text
    assert 'pawl_inference_answers_total{arm="champion",finish_reason="stop",model="default/assistant"}' in text
    assert "pawl_inference_journal_backlog" in text


def test_sessions_meet_their_arm(client: TestClient, world: World, service: InferenceService) -> None:
    world.deploy(2, challenger=world.adapter("new"), canary=CANARY, share=0.5, change="canary")
    eventually(lambda: digest("new") in world.engine.published and len(client.get("/v1/models").json()["data"]) == 3)
    arms: dict[str, set[str]] = {}
    for number in range(60):
        session = f"s-{number % 30}"
        body = client.post(CHAT, json=ask(metadata={"session_id": session})).json()
        arms.setdefault(session, set()).add(body["metadata"]["arm"])
        expected = digest("new") if body["metadata"]["arm"] == "challenger" else BASE
        assert body["system_fingerprint"] == expected
        assert body["choices"][0]["message"]["content"] == f"I am {expected[:6]}"
    assert all(len(met) == 1 for met in arms.values())
    assert {arm for met in arms.values() for arm in met} == {"champion", "challenger"}
    assert {event.canary for event in logged(world, 60)} == {CANARY}
