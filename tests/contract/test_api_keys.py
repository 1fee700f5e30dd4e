"""Services with an API ask for keys in the same way: who is let in, what the others are told, and from when on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import SystemRandom
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from support.api_keys import a_key, revoke
from support.inference import World, running

from pawl_cli.api_keys import KeyStore
from pawl_monitor import app as monitor_app
from pawl_monitor.settings import MonitorSettings
from pawl_monitor.storage.duckdb_store import open_database
from pawl_shared.access.api_keys import SCOPES, Scope
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.topics import TOPICS

Ask = tuple[str, str]
INFERENCE: Mapping[Ask, Scope] = {
    ("GET", "/v1/models"): "infer",
    ("POST", "/v1/chat/completions"): "infer",
    ("GET", "/v1/what-there-is-not"): "infer",
    ("POST", "/v1/feedback"): "feedback",
    ("GET", "/metrics"): "ops",
}
MONITOR: Mapping[Ask, Scope] = {
    ("GET", "/"): "ops",
    ("GET", "/api/models"): "ops",
    ("GET", "/api/openapi.json"): "ops",
    ("GET", "/what-there-is-not"): "ops",
    ("GET", "/metrics"): "ops",
    ("POST", "/api/backup"): "admin",
    ("POST", f"/api/reviews/{uuid4()}/answers/{uuid4()}"): "admin",
}
OPEN = ("/healthz", "/readyz")
INCLUDED = {"ops": {"ops", "admin"}}


@dataclass
class Service:
    client: TestClient
    keys: Path
    asks: Mapping[Ask, Scope]

    def ask(self, ask: Ask, key: str | None = None) -> Response:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return self.client.request(*ask, headers=headers, json={} if ask[0] == "POST" else None)


@pytest.fixture(params=["inference", "monitor"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    keys = tmp_path / "data" / "keys" / "api.keys"
    if request.param == "inference":
        with running(World(tmp_path)) as inference:
            yield Service(TestClient(inference.asgi), keys, INFERENCE)
        return
    bus = MemoryBus()
    bus.create_topics(TOPICS)
    monitor = monitor_app.build(MonitorSettings(data_dir=tmp_path / "data"), bus=bus, database=open_database(None))
    yield Service(TestClient(monitor.asgi, base_url="http://127.0.0.1"), keys, MONITOR)
    monitor._cursors.close()


def let_in(answer: Response) -> bool:
    """What is then found, or is wrong with a request, is another matter."""
    return answer.status_code not in {401, 403} or "error" not in answer.json()


def test_without_keys_whoever_is_on_this_machine_may_ask(service: Service) -> None:
    assert all(let_in(service.ask(ask)) for ask in service.asks)
    assert all(let_in(service.ask(ask, "none")) for ask in service.asks)
    assert not service.keys.exists()


def test_each_scope_opens_what_it_says(service: Service) -> None:
    keys = {scope: a_key(service.keys, scope) for scope in SCOPES}
    for ask, needed in service.asks.items():
        for wrong in (None, "", "none", keys[needed][:-1]):
            refused = service.ask(ask, wrong)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
            assert refused.headers["www-authenticate"].startswith("Bearer")
        for scope, key in keys.items():
            answer = service.ask(ask, key)
            if scope in INCLUDED.get(needed, {needed}):
                assert let_in(answer), (ask, scope, answer.text)
            else:
                assert answer.status_code == 403
                error = answer.json()["error"]
                assert set(error) == {"message", "type", "param", "code"}
                assert f"Missing scopes: {needed}." in error["message"]


@pytest.mark.parametrize(
    "header", [b"Bearer \xe4\xff", b"Bearer " + b"x" * 20_000, b"Bearer", b"pawl_", b"Bearer a b", b"\t"]
)
def test_nothing_that_is_shown_is_a_fault_of_the_server(service: Service, header: bytes) -> None:
    a_key(service.keys, "infer")
    for method, path in service.asks:
        answer = service.client.request(method, path, headers={"Authorization": header})
        assert answer.status_code == 401
    assert service.client.get("/readyz", headers={"Authorization": header}).status_code < 504


def test_probes_stay_open_and_tell_reasons_to_ops_alone(service: Service) -> None:
    reasons = service.client.get("/readyz").text
    ops = a_key(service.keys, "ops")
    assert service.client.get("/healthz").status_code == 200
    assert service.client.get("/readyz").text == "not ready: an API key with the scope ops sees why\n"
    assert service.ask(("GET", "/readyz"), ops).text == reasons


def test_keys_come_and_go_without_a_restart(service: Service) -> None:
    ask, scope = next(iter(service.asks.items()))
    store = KeyStore(service.keys, rng=SystemRandom())
    assert let_in(service.ask(ask))
    first = store.create("shop", (scope,), None)
    assert not let_in(service.ask(ask))
    assert let_in(service.ask(ask, first.text))
    second = store.rotate("shop", timedelta(hours=1))
    assert second.key.id == first.key.id
    assert let_in(service.ask(ask, first.text))
    assert let_in(service.ask(ask, second.text))
    third = store.rotate("shop", timedelta(0))
    assert not let_in(service.ask(ask, first.text))
    assert not let_in(service.ask(ask, second.text))
    assert let_in(service.ask(ask, third.text))
    store.revoke("shop")
    assert not let_in(service.ask(ask, third.text))
    assert not let_in(service.ask(ask))


def test_a_damaged_file_of_keys_is_a_503_for_everybody(service: Service) -> None:
    key = a_key(service.keys, *SCOPES)
    ask = next(iter(service.asks))
    service.keys.write_text("not JSON")
    for shown in (None, key):
        answer = service.ask(ask, shown)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "api_keys_unreadable")
        assert "retry-after" in answer.headers
    service.keys.unlink()
    assert service.ask(ask).status_code == 503
    revoke_all = a_key(service.keys, *SCOPES)
    assert let_in(service.ask(ask, revoke_all))
    revoke(service.keys, revoke_all)
    assert service.ask(ask, revoke_all).status_code == 401
