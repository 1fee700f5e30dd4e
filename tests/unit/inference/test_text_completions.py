"""/v1/completions: prompts in all four shapes, what is honoured and refused, and its log entries."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from openai.types import completion_create_params as params
from support.inference import BASE, World, eventually, running
from unit.inference.test_http import frames, logged

from pawl_inference.bodies.text_body import TextRequest
from pawl_inference.domain import parameters
from pawl_shared.topics import FEEDBACK

PATH = "/v1/completions"
SAID = f"I am {BASE[:6]}"


def ask(prompt: Any = "Once upon a time", **fields: Any) -> dict[str, Any]:
    return {"model": "assistant", "prompt": prompt, **fields}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        yield TestClient(service.asgi, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    world = World(tmp_path_factory.mktemp("calm"))
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        yield TestClient(service.asgi, raise_server_exceptions=False)
        assert world.engine.requests == [], "nothing that is refused reaches the engine"


def test_a_text_goes_on_without_a_template_and_is_logged_as_such(client: TestClient, world: World) -> None:
    response = client.post(PATH, json=ask(user="ada"))
    body = response.json()
    assert body["object"] == "text_completion"
    assert body["choices"] == [{"text": SAID, "index": 0, "logprobs": None, "finish_reason": "stop"}]
    counts = {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    assert body["usage"] == {**counts, "prompt_tokens_details": {"cached_tokens": 0}}
    assert response.headers["x-pawl-feedback-token"] == body["metadata"]["feedback_token"]
    (request,) = world.engine.requests
    assert (request.prompt, request.max_tokens) == ((0, 1, 2, 3), 16)
    assert world.engine.conversations == []
    (event,) = logged(world)
    assert (event.form, event.answer, event.subject is None) == ("text", SAID, False)
    assert [(turn.role, turn.content) for turn in event.messages] == [("user", "Once upon a time")]
    post = {"inference_id": body["id"], "token": body["metadata"]["feedback_token"], "thumb": "up"}
    assert client.post("/v1/feedback", json=post).status_code == 202
    assert [said.inference_id for said in world.read(FEEDBACK)] == [event.inference_id]


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        (["one", "two words"], ["one", "two words"]),
        ([5, 6, 7], ["t5 t6 t7"]),
        ([[5], [6, 7]], ["t5", "t6 t7"]),
    ],
)
def test_prompts_in_lists_and_as_tokens(client: TestClient, world: World, prompt: Any, texts: list[str]) -> None:
    body = client.post(PATH, json=ask(prompt, n=2, echo=True, seed=7)).json()
    assert [choice["index"] for choice in body["choices"]] == list(range(2 * len(texts)))
    assert [choice["text"] for choice in body["choices"]] == [text + SAID for text in texts for _ in range(2)]
    assert body["usage"]["prompt_tokens"] == sum(len(text.split()) for text in texts), "each prompt counts once"
    assert len(set(body["metadata"]["feedback_tokens"])) == 2 * len(texts)
    events = sorted(logged(world, 2 * len(texts)), key=lambda event: event.choice)
    assert [event.messages[0].content for event in events] == [text for text in texts for _ in range(2)]
    assert [event.sampling.seed for event in events[:2]] == [event.sampling.seed for event in events[-2:]]


def test_a_stream_is_the_same_in_chunks(client: TestClient) -> None:
    fields = {"echo": True, "n": 2, "seed": 1}
    plain = client.post(PATH, json=ask(**fields)).json()
    *chunks, last = frames(
        client.post(PATH, json=ask(**fields, stream=True, stream_options={"include_usage": True})).text
    )
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    for choice in plain["choices"]:
        own = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == choice["index"]]
        assert "".join(piece["text"] for piece in own) == choice["text"]
        assert [piece["finish_reason"] for piece in own if piece["finish_reason"]] == [choice["finish_reason"]]
    assert (last["choices"], last["usage"]) == ([], plain["usage"])


def test_log_probabilities_in_the_older_shape(client: TestClient) -> None:
    found = client.post(PATH, json=ask(logprobs=2)).json()["choices"][0]["logprobs"]
    assert found["tokens"] == ["I", " am", f" {BASE[:6]}"]
    assert found["token_logprobs"] == [-0.5] * 3
    assert found["text_offset"] == [0, 1, 4]
    assert found["top_logprobs"][0] == {"I": -0.5, "bytes:\\xf0\\x9f": -1.5}
    chunks = frames(client.post(PATH, json=ask(logprobs=2, stream=True)).text)
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [offset for each in told if each for offset in each["text_offset"]] == found["text_offset"]
    assert client.post(PATH, json=ask(logprobs=0)).json()["choices"][0]["logprobs"]["top_logprobs"] is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": [1, "x"]}, "prompt[1]"),
        ({"prompt": ["x", 1]}, "prompt[1]"),
        ({"prompt": [[1], [2, "x"]]}, "prompt[1][1]"),
        ({"prompt": {"text": "x"}}, "prompt"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"prompt": [1000]}, "prompt"),
        ({"prompt": ["x"] * 33}, "prompt"),
        ({"prompt": ["x"] * 5, "n": 8}, "prompt"),
        ({"prompt": "word " * 100}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"best_of": 3}, "best_of"),
        ({"suffix": "the end"}, "suffix"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"),
        ({"logit_bias": {"5": True}}, "logit_bias.5"),
        ({"logit_bias": {"-1": 1}}, "logit_bias.-1"),
        ({"logit_bias": {"the": 1}}, "logit_bias.the"),
        ({"logit_bias": {"1000": 1}}, "logit_bias"),
        ({"logit_bias": dict.fromkeys(map(str, range(1025)), 1)}, "logit_bias"),
        ({"messages": []}, "messages"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(calm: TestClient, fields: dict[str, Any], param: str) -> None:
    response = calm.post(PATH, json=ask() | fields)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param), error


def test_what_asks_for_nothing_is_taken(client: TestClient) -> None:
    fields = {"suffix": "", "best_of": 2, "n": 2, "logit_bias": {}, "echo": False, "logprobs": None}
    assert client.post(PATH, json=ask(**fields)).status_code == 200


def test_every_parameter_of_openai_is_in_the_table() -> None:
    assert {*params.CompletionCreateParamsBase.__annotations__, "prompt", "stream"} <= parameters.TEXT.keys()
    honoured = {name for name, rule in parameters.TEXT.items() if rule.honoured}
    assert honoured == TextRequest.model_fields.keys()
