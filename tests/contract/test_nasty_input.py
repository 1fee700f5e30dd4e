"""Nasty input has the outcome that docs/nasty-input.md names: one list, run here and printed there."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from structlog.testing import capture_logs
from support.inference import World, eventually, running
from support.nasty_http import CASES, KEY, Case, Client

from pawl_shared.topics import FEEDBACK


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("nasty"))


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[Client]:
    world.deploy(1)
    with running(world, token_key=KEY.hex()) as service:
        eventually(lambda: service.health.ready)
        with capture_logs(), TestClient(service.asgi, raise_server_exceptions=False) as http:
            yield Client(http)


def statements(world: World) -> set[str]:
    return {str(event.id) for event in world.read(FEEDBACK)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.input)
def test_a_nasty_request(case: Case, client: Client, world: World) -> None:
    before = statements(world)
    found = case.sends(client)
    for response in found if isinstance(found, list) else [found]:
        judge(case, response)
    assert len(statements(world) - before) == case.stored
    assert client.http.get("/readyz").status_code == 200
    assert client.chat().status_code == 200


def judge(case: Case, response: Response) -> None:
    assert response.status_code == case.status, response.text[:500]
    if response.status_code >= 400:
        error = response.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert case.code in ("*", error["code"]), error
        assert 10 < len(error["message"]) < 1000
