"""Feedback from pages: a page holds no secret, so its feedback token is enough where its origin is allowed to post."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from pydantic import ValidationError
from support.api_keys import a_key
from support.inference import World, eventually, running

from pawl_inference.settings import InferenceSettings

PAGE = "https://app.example.com"


class Site:
    """A service with keys, and one answer that may be rated."""

    def __init__(self, client: TestClient, keys: Path) -> None:
        self.client, self.keys = client, keys
        self.key = a_key(keys, "infer")
        ask = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}]}
        answer = client.post("/v1/chat/completions", json=ask, headers={"Authorization": f"Bearer {self.key}"}).json()
        self.thumb = {"inference_id": answer["id"], "token": answer["metadata"]["feedback_token"], "thumb": "up"}

    def rate(self, origin: str | None = PAGE, key: str | None = None, **changed: Any) -> Response:
        headers = {"Origin": origin} if origin else {}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        return self.client.post("/v1/feedback", json=self.thumb | changed, headers=headers)

    def preflight(self, origin: str, path: str = "/v1/feedback", wanted: str = "content-type") -> Response:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": wanted}
        return self.client.options(path, headers=asked)


def site(folder: Path, **settings: Any) -> Iterator[Site]:
    world = World(folder)
    world.deploy(1)
    with running(world, **settings) as service:
        eventually(lambda: service.health.ready)
        yield Site(TestClient(service.asgi), folder / "data" / "keys" / "api.keys")


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Site]:
    yield from site(tmp_path)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Site]:
    yield from site(tmp_path, feedback_origins=(PAGE,))


def test_without_origins_a_token_needs_a_key_beside_it(closed: Site) -> None:
    assert closed.rate().status_code == 401
    assert closed.rate(key=closed.key).status_code == 403
    assert closed.rate(key=a_key(closed.keys, "feedback")).status_code == 202
    assert "access-control-allow-origin" not in closed.preflight(PAGE).headers


def test_where_pages_may_post_a_token_is_enough(shared: Site) -> None:
    accepted = shared.rate()
    assert accepted.status_code == 202
    assert accepted.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in accepted.headers
    assert shared.rate(origin=None).status_code == 202
    assert shared.rate(key=a_key(shared.keys, "feedback")).status_code == 202


def test_a_page_learns_why_it_was_refused(shared: Site) -> None:
    for refused, status, code in (
        (shared.rate(token="v1.x.y.z"), 403, "invalid_feedback_token"),
        (shared.rate(thumb="sideways"), 400, "invalid_value"),
        (shared.rate(key="none"), 401, "invalid_api_key"),
        (shared.rate(key=shared.key), 403, "missing_scope"),
    ):
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
        assert refused.headers["access-control-allow-origin"] == PAGE


def test_browsers_are_told_who_may_post_and_what(shared: Site) -> None:
    allowed = shared.preflight(PAGE, wanted="content-type, idempotency-key")
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert allowed.headers["access-control-allow-methods"] == "POST"
    assert shared.preflight("https://evil.example").status_code == 400
    assert shared.preflight(PAGE, wanted="authorization").status_code == 400
    assert "access-control-allow-origin" not in shared.rate(origin="https://evil.example").headers


def test_nothing_else_is_for_pages(shared: Site) -> None:
    for path in ("/v1/chat/completions", "/v1/models", "/metrics"):
        assert "access-control-allow-origin" not in shared.preflight(PAGE, path).headers
        assert shared.client.get(path, headers={"Origin": PAGE}).status_code == 401


@pytest.mark.parametrize("origin", ["app.example.com", "https://app.example.com/", "https://*.example.com", "null", ""])
def test_what_is_no_origin_is_refused_at_the_start(tmp_path: Path, origin: str) -> None:
    with pytest.raises(ValidationError, match="feedback_origins"):
        InferenceSettings(data_dir=tmp_path, feedback_origins=(origin,))
