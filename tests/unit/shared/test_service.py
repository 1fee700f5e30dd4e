"""What every service answers about itself, and where it cannot."""

import socket
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from pawl_shared.errors import ConfigurationError
from pawl_shared.service import Health, listen, serve_health


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_taken_port_is_a_clear_error_for_every_kind_of_service(taken: int) -> None:
    with pytest.raises(ConfigurationError, match="PAWL_HTTP_PORT"):
        listen("127.0.0.1", taken)
    with pytest.raises(ConfigurationError, match="PAWL_HTTP_PORT"):
        serve_health(Health("test"), "127.0.0.1", taken)


def test_readiness_names_every_obstacle() -> None:
    health = Health("test")
    server = serve_health(health, "127.0.0.1", 0)
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
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
