"""What every service answers about itself, and where it cannot."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from support.api_keys import a_key
from support.told import Told

from pawl_shared import logging
from pawl_shared.access.api_key_file import save
from pawl_shared.access.api_keys import ApiKeys
from pawl_shared.access.service import check_host
from pawl_shared.errors import ConfigurationError
from pawl_shared.service import Health, listen, serve_health
from pawl_shared.settings import PawlSettings


def settings(port: int, **others: Any) -> PawlSettings:
    return PawlSettings(data_dir=Path("/nowhere"), http_port=port, **others)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_taken_port_is_a_clear_error_for_every_kind_of_service(taken: int) -> None:
    with pytest.raises(ConfigurationError, match="PAWL_HTTP_PORT"):
        listen(settings(taken))
    with pytest.raises(ConfigurationError, match="PAWL_HTTP_PORT"):
        serve_health(Health("test"), settings(taken))


def test_a_service_says_where_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "get", lambda _: told)
    told = Told()
    with listen(settings(0)) as listener:
        server = serve_health(Health("test"), settings(0))
        server.shutdown()
        server.server_close()
        ports = [listener.getsockname()[1], server.server_port]
    assert [(line["host"], line["port"]) for line in told.lines] == [("127.0.0.1", port) for port in ports]


def test_a_variable_that_is_set_to_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAWL_MASTER_KEYS", "PAWL_API_KEYS_FILE", "PAWL_HTTP_PORT"):
        monkeypatch.setenv(name, "")
    found = PawlSettings()
    assert (found.master_keys, found.api_keys_file, found.http_port) == (None, None, 0)


def test_readiness_names_every_obstacle() -> None:
    health = Health("test")
    server = serve_health(health, settings(0))
    url = f"http://127.0.0.1:{server.server_port}/readyz"
    try:
        health.wait_for("base", "fetching a base")
        with pytest.raises(HTTPError) as refused:
            urlopen(url)
        assert refused.value.code == 503
        assert refused.value.read() == b"the service is starting\nfetching a base\n"
        refused.value.close()
        health.clear("start")
        health.clear("base")
        with urlopen(url) as answer:
            assert answer.read() == b"ready\n"
    finally:
        server.shutdown()
        server.server_close()


def test_what_is_accepted_answers_at_once() -> None:
    with listen(settings(0)) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.1.2.3", "pawl.example.com"])
def test_nobody_listens_beyond_this_machine_without_keys(tmp_path: Path, host: str) -> None:
    open_to_all = PawlSettings(data_dir=tmp_path, http_host=host)
    for start in (lambda: listen(open_to_all), lambda: serve_health(Health("test"), open_to_all)):
        with pytest.raises(ConfigurationError, match="pawl keys create"):
            start()
    save(open_to_all.api_keys, ApiKeys())
    with pytest.raises(ConfigurationError, match="no API keys"):
        check_host(open_to_all)
    a_key(open_to_all.api_keys, "ops")
    check_host(open_to_all)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_needs_no_keys(tmp_path: Path, host: str) -> None:
    check_host(PawlSettings(data_dir=tmp_path, http_host=host))


def test_metrics_and_reasons_need_a_key_with_ops_where_there_are_keys(tmp_path: Path) -> None:
    health, with_keys = Health("test"), PawlSettings(data_dir=tmp_path)
    ops, infer = (a_key(with_keys.api_keys, scope) for scope in ("ops", "infer"))
    server = serve_health(health, with_keys)

    def asked(path: str, key: str = "") -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            with urlopen(Request(f"http://127.0.0.1:{server.server_port}{path}", headers=headers)) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    try:
        assert asked("/healthz") == (200, "alive\n")
        assert (
            asked("/readyz") == asked("/readyz", infer) == (503, "not ready: an API key with the scope ops sees why\n")
        )
        assert asked("/readyz", ops) == (503, "the service is starting\n")
        assert asked("/metrics")[0] == 401
        status, body = asked("/metrics", infer)
        assert status == 403
        assert json.loads(body)["error"]["code"] == "missing_scope"
        assert "pawl_access_refused_total" in asked("/metrics", ops)[1]
    finally:
        server.shutdown()
        server.server_close()
