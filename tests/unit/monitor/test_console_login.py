"""Logging in at the console: a pasted key becomes a signed cookie, which ends with its key."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from support.api_keys import a_key

from pawl_cli.api_keys import KeyStore
from pawl_monitor import app as monitor_app
from pawl_monitor.api.gate import Gate
from pawl_monitor.api.login_routes import own
from pawl_monitor.api.logins import COOKIE, LIFETIME
from pawl_monitor.settings import MonitorSettings
from pawl_monitor.storage.duckdb_store import open_database
from pawl_shared.access.api_keys import Scope
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.clock import ManualClock
from pawl_shared.topics import TOPICS

HTML = {"Accept": "text/html,*/*"}
JUDGE = f"/api/reviews/{uuid4()}/answers/{uuid4()}"


@dataclass
class Console:
    client: TestClient
    store: KeyStore
    clock: ManualClock

    def key(self, *scopes: Scope, name: str = "me") -> str:
        return self.store.create(name, scopes, None).text

    def log_in(self, key: str, target: str = "/", **headers: str) -> Response:
        return self.client.post("/login", data={"key": key, "next": target}, headers=headers)

    def status(self, path: str = "/api/models") -> int:
        return self.client.get(path).status_code


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    clock, bus = ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), MemoryBus()
    bus.create_topics(TOPICS)
    settings = MonitorSettings(data_dir=tmp_path)
    service = monitor_app.build(settings, bus=bus, database=open_database(None), clock=clock)
    client = TestClient(service.asgi, base_url="http://127.0.0.1:8080", follow_redirects=False)
    yield Console(client, KeyStore(settings.api_keys, clock), clock)
    service._cursors.close()


def test_without_keys_there_is_nothing_to_log_in_to(console: Console) -> None:
    assert console.client.get("/login?next=/x").headers["location"] == "/x"
    assert console.log_in("anything").headers["location"] == "/"
    assert "Log out" not in console.client.get("/").text


def test_a_page_leads_to_the_login_and_back(console: Console) -> None:
    key = console.key("ops")
    away = console.client.get("/?model=a/b", headers=HTML)
    assert (away.status_code, away.headers["location"]) == (303, "/login?next=%2F%3Fmodel%3Da%2Fb")
    page = console.client.get(away.headers["location"]).text
    assert 'value="/?model=a/b"' in page
    assert "API key" in page
    back = console.log_in(key, "/?model=a/b")
    assert (back.status_code, back.headers["location"]) == (303, "/?model=a/b")
    assert console.status() == 200
    assert "Log out" in console.client.get("/").text


def test_the_cookie_is_for_this_site_and_no_script_and_holds_no_key(console: Console) -> None:
    key = console.key("ops")
    set_cookie = console.log_in(key).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={int(LIFETIME.total_seconds())}"} <= set(
        set_cookie.split("; ")
    )
    assert "Secure" not in set_cookie
    assert key.rpartition("_")[2] not in set_cookie
    secure = TestClient(console.client.app, base_url="https://127.0.0.1:8080", follow_redirects=False)
    assert "Secure" in secure.post("/login", data={"key": key}).headers["set-cookie"]


@pytest.mark.parametrize("given", ["", "none", "pawl_00000000_wrong"])
def test_a_wrong_key_is_told_on_the_page(console: Console, given: str) -> None:
    console.key("ops")
    refused = console.log_in(given, "/x")
    assert refused.status_code == 401
    assert "API key" in refused.text
    assert 'value="/x"' in refused.text
    assert "set-cookie" not in refused.headers


def test_a_key_without_ops_cannot_log_in(console: Console) -> None:
    refused = console.log_in(console.key("infer"))
    assert refused.status_code == 403
    assert "Missing scopes: ops." in refused.text


def test_ops_looks_and_admin_judges(console: Console) -> None:
    for scope, status in (("ops", 403), ("admin", 404)):
        console.log_in(console.key(scope, name=scope))
        assert console.status() == 200
        said = {"post": str(uuid4()), "thumb": "up"}
        judged = console.client.post(JUDGE, json=said, headers={"X-Pawl-Review": "1"})
        assert judged.status_code == status


def test_another_site_s_page_can_neither_log_in_nor_judge(console: Console) -> None:
    key = console.key("admin")
    assert console.log_in(key, Origin="https://evil.example").status_code == 403
    assert console.log_in(key, Origin="null").status_code == 403
    assert console.log_in(key, Origin="http://127.0.0.1:8080").status_code == 303
    judged = console.client.post(JUDGE, json={}, headers={"X-Pawl-Review": "1", "Origin": "https://evil.example"})
    assert judged.status_code == 403
    # so that the forms of our own pages come with their origin, and not with null
    assert console.client.get("/login").headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("how", ["revoked", "rotated at once", "after the grace", "after twelve hours", "logged out"])
def test_a_login_ends(console: Console, how: str) -> None:
    console.log_in(console.key("ops", name="me"))
    assert console.status() == 200
    if how == "revoked":
        console.store.revoke("me")
    elif how == "rotated at once":
        console.store.rotate("me", timedelta(0))
    elif how == "after the grace":
        console.store.rotate("me", timedelta(hours=1))
        assert console.status() == 200
        console.clock.advance(3600)
    elif how == "after twelve hours":
        console.clock.advance(LIFETIME.total_seconds() - 1)
        assert console.status() == 200
        console.clock.advance(1)
    else:
        assert console.client.post("/logout").headers["location"] == "/login"
    assert console.status() == 401


def test_a_cookie_that_was_tampered_with_opens_nothing(console: Console) -> None:
    console.log_in(console.key("ops", name="one"))
    cookie = console.client.cookies[COOKIE]
    other = console.store.create("two", ("admin",), None).key
    version, identity, until, mac = cookie.split(".")
    assert console.status() == 200
    for forged in (
        f"{version}.{other.id}.{until}.{mac}",
        f"{version}.{identity}.{int(until) + 1}.{mac}",
        f"{version}.{identity}.{until}.{'0' * 64}",
        f"v2.{identity}.{until}.{mac}",
        "",
        "x",
        f"{version}.{identity}.soon.{mac}",
    ):
        console.client.cookies.clear()
        shown = {"Cookie": f"{COOKIE}={forged}"}
        assert console.client.get("/api/models", headers=shown).status_code == 401, forged


def test_a_link_from_elsewhere_is_asked_for_once_more_by_our_own_page(console: Console) -> None:
    """Browsers hold back a strict cookie when another site's link leads here."""
    key = console.key("ops")
    link = {**HTML, "Sec-Fetch-Site": "cross-site"}
    page = console.client.get("/alarms/1?a=%22&b", headers=link)
    assert page.status_code == 200
    assert 'content="0; url=/alarms/1?a=%22&amp;b"' in page.text
    for path in ("//evil.example", "/%0A/evil.example"):  # to a browser, addresses elsewhere
        assert 'content="0; url=/"' in console.client.get(f"http://localhost{path}", headers=link).text, path
    assert console.client.get("/", headers=HTML | {"Sec-Fetch-Site": "same-origin"}).status_code == 303
    console.log_in(key)
    assert "No model yet" in console.client.get("/", headers=link).text


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "x", "", "/\n/evil.example"]
)
def test_the_login_leads_nowhere_else(target: str) -> None:
    assert own(target) == "/"
    assert own("/alarms/1?x=2") == "/alarms/1?x=2"


def test_the_feed_ends_with_the_right_to_see_it(console: Console) -> None:
    key = console.key("ops")
    gate = next(each for each in console.client.app.user_middleware if each.cls is Gate)  # type: ignore[attr-defined]
    sent: list[dict[str, object]] = []

    async def endless(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b"one", "more_body": True})  # type: ignore[operator]
        console.store.revoke("me")
        for _ in range(2):
            await send({"type": "http.response.body", "body": b"two", "more_body": True})  # type: ignore[operator]

    async def collect(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/events", "query_string": b"",
             "headers": [(b"authorization", f"Bearer {key}".encode())]}  # fmt: skip
    asyncio.run(gate.cls(endless, **gate.kwargs)(scope, None, collect))  # type: ignore[arg-type]
    assert [message.get("body") for message in sent] == [None, b"one", b""]
    assert sent[-1]["more_body"] is False


def test_keys_made_while_the_console_runs_close_it(console: Console) -> None:
    assert console.status() == 200
    a_key(console.store.path, "ops")
    assert console.status() == 401
