"""docs/openapi.json names every header that the inference service reads or writes: each is asked for all it does."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.datastructures import Headers
from support.api_keys import a_key
from support.inference import World, running

from pawl_inference import openapi
from pawl_inference.server import InferenceService

DOCUMENT = json.loads(openapi.document())
# What OpenAPI says elsewhere (media types, security), and what HTTP and its servers do by themselves.
ELSEWHERE = {"content-type", "content-length", "authorization"}
ASKED = {"model": "assistant", "messages": [{"role": "user", "content": "Hello"}]}
POSTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": ASKED,
    "/v1/completions": {"model": "assistant", "prompt": "Hello"},
    "/v1/feedback": {"inference_id": "01980000-0000-7000-8000-000000000000", "token": "x", "thumb": "up"},
    "/v1/inferences": {"model": "assistant", "messages": ASKED["messages"], "answer": "Hi"},
    "/v1/inferences/{inference}/token": {"model": "assistant"},
    "/v1/traces": {"resourceSpans": []},
}
GETS = ["/v1/models", "/v1/models/{name}", "/metrics", "/healthz", "/readyz"]
CALLS = [("post", path) for path in POSTS] + [("get", path) for path in GETS]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[InferenceService, str]]:
    world = World(tmp_path_factory.mktemp("world"))
    world.deploy(1)
    key = a_key(world.folder / "data" / "keys" / "api.keys", "infer", "feedback", "ops")
    with running(world, feedback_origins=("https://app.example",)) as service:
        yield service, key


def asked(service: InferenceService, method: str, path: str, body: dict[str, Any] | None, **headers: str) -> Any:
    return TestClient(service.asgi).request(
        method, path.format(inference="0", name="assistant"), json=body, headers=headers
    )


def operation(method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path][method]
    return found


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_what_is_read_is_described(
    service: tuple[InferenceService, str], method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[str] = set()
    for name in ("__getitem__", "__contains__"):
        real = getattr(Headers, name)

        def watched(self: Headers, key: str, real: Any = real) -> Any:
            read.add(key.lower())
            return real(self, key)

        monkeypatch.setattr(Headers, name, watched)
    app, key = service
    response = asked(app, method, path, POSTS.get(path), authorization=f"Bearer {key}")
    described = {each["name"] for each in operation(method, path).get("parameters", []) if each["in"] == "header"}
    # of CORS, which is described by what is answered
    assert read - ELSEWHERE - {"origin"} <= described
    assert described <= read, response.text
    assert ("security" in operation(method, path)) == ("authorization" in read)


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize("keyed", [True, False])
def test_what_is_answered_is_described(
    service: tuple[InferenceService, str], method: str, path: str, keyed: bool
) -> None:
    app, key = service
    headers = {"origin": "https://app.example", "authorization": f"Bearer {key if keyed else 'x'}"}
    bodies = [None] if method == "get" else [POSTS[path], POSTS[path] | {"stream": True}]
    for body in bodies:
        response = asked(app, method, path, body, **headers)
        described = operation(method, path)["responses"].get(str(response.status_code), {}).get("headers", {})
        assert {name for name in response.headers if name not in ELSEWHERE} <= described.keys(), response.text


def test_when_to_ask_again_and_how_to_log_in_are_described_with_their_errors() -> None:
    found = [
        (status, response)
        for operations in DOCUMENT["paths"].values()
        for described in operations.values()
        for status, response in described["responses"].items()
        if "application/json" in response.get("content", {})
    ]
    assert {status for status, _ in found} >= {"401", "403", "429", "503"}
    for status, response in found:
        assert ("retry-after" in response.get("headers", {})) == (status in {"429", "503"})
        assert ("www-authenticate" in response.get("headers", {})) == (status in {"401", "403"})


def test_parameters_are_what_openapi_allows() -> None:
    assert not [
        each
        for operations in DOCUMENT["paths"].values()
        for described in operations.values()
        for each in described.get("parameters", [])
        if each["in"] == "header" and each["name"] in {"accept", "content-type", "authorization"}
    ]
