"""The web server that services with an API run in."""

import socket
from collections.abc import Sequence

import httpx
import pytest
import uvicorn

from pawl_shared import web_server


def test_clients_let_idle_connections_go_before_the_server_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that meets a connection while the server closes it is lost."""
    kept: list[int] = []

    async def serve(server: uvicorn.Server, sockets: Sequence[socket.socket] = ()) -> None:
        kept.append(server.config.timeout_keep_alive)

    monkeypatch.setattr(web_server.uvicorn.Server, "serve", serve)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        web_server.serve(lambda: None, listener, lambda: True)
    balancers = 60
    assert kept[0] > max(balancers, httpx.Limits().keepalive_expiry or 0)
