"""The tables of parameters against OpenAI's SDK, the bodies' fields, and the HTTP API."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient
from openai.types.chat import chat_completion_stream_options_param as stream_params
from openai.types.chat import completion_create_params as chat_params
from support.inference import World, eventually, running
from unit.inference.test_http import CHAT, ask

from pawl_inference.bodies.chat_body import ChatRequest
from pawl_inference.domain import parameters
from pawl_inference.domain.parameters import Rule

NONSENSE: tuple[Any, ...] = ("nonsense", True, False, 0, 1, {"x": 1}, ["x"])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    world = World(tmp_path_factory.mktemp("parameters"))
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        yield TestClient(service.asgi, raise_server_exceptions=False)


def test_every_parameter_of_openai_is_in_the_table() -> None:
    chat = {*chat_params.CompletionCreateParamsBase.__annotations__, "stream"}
    assert chat <= parameters.CHAT.keys()
    assert stream_params.ChatCompletionStreamOptionsParam.__annotations__.keys() == parameters.STREAM_OPTIONS.keys()


def test_what_is_honoured_is_a_field_of_the_body() -> None:
    honoured = {name for name, rule in parameters.CHAT.items() if rule.honoured}
    assert honoured == ChatRequest.model_fields.keys()


def _refused(table: Mapping[str, Rule]) -> list[str]:
    return [name for name, rule in table.items() if not rule.honoured]


@pytest.mark.parametrize("name", _refused(parameters.CHAT))
def test_a_parameter_that_is_not_honoured_is_refused_unless_it_asks_for_nothing(client: TestClient, name: str) -> None:
    rule = parameters.CHAT[name]
    for harmless in (None, *rule.harmless):
        assert client.post(CHAT, json=ask(**{name: harmless})).status_code == 200
    for value in NONSENSE:
        if rule.allows(value):
            continue
        response = client.post(CHAT, json=ask(**{name: value}))
        error = response.json()["error"]
        assert (response.status_code, error["param"], error["code"]) == (400, name, "unsupported_parameter")
        assert name in error["message"]


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "refusal", "nonsense"])
def test_parts_that_are_no_text_are_named(client: TestClient, kind: str) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": kind, kind: {"url": "data:,x"}}]
    response = client.post(CHAT, json=ask() | {"messages": [{"role": "user", "content": parts}]})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "messages[0].content[1].type")
    assert kind in error["message"]


def test_fields_of_messages_and_parts_are_not_ignored(client: TestClient) -> None:
    for message, param in (
        ({"role": "user", "content": "x", "weight": 1}, "messages[0].weight"),
        (
            {"role": "user", "content": [{"type": "text", "text": "x", "colour": "red"}]},
            "messages[0].content[0].colour",
        ),
    ):
        error = client.post(CHAT, json=ask() | {"messages": [message]}).json()["error"]
        assert (error["param"], error["code"]) == (param, "unknown_parameter")
