"""The web server of the services that have an API: on a port that is bound first, until the service ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import Scope

from pawl_shared.access.service import Place

LOOK_SECONDS = 0.1
# So long what was cut may take to say so.
CUT_SECONDS = 3
# An idle connection is the client's to close. httpx, and with it OpenAI's SDK, keeps one for 5 s: with uvicorn's 5 s
# a request now and then met a server that was just closing it (3 of 308). Balancers keep theirs for 60 s.
IDLE_SECONDS = 75


def serve(
    app: Callable[..., Any],
    listener: socket.socket,
    over: Callable[[], bool],
    *,
    grace: int = 0,
    ending: Callable[[], None] = lambda: None,
    drained: Callable[[], bool] = lambda: True,
    cut: Callable[[], None] = lambda: None,
) -> None:
    """Serve until `over` answers true, or until the server ends by itself.

    Args:
        listener: where to listen, as service.listen() answers it.
        ending: called at the end, to end what would go on without end.
        drained: while it is not, connections are still taken, and told what `app` tells them, for `grace` seconds.
        cut: called after that, to end what has not ended.
    """

    async def at_the_end() -> None:
        ending()
        give_up = time.monotonic() + grace
        while not drained() and time.monotonic() < give_up:
            await asyncio.sleep(LOOK_SECONDS)
        cut()

    asyncio.run(_serve(app, listener, over, at_the_end))


async def _serve(
    app: Callable[..., Any],
    listener: socket.socket,
    over: Callable[[], bool],
    ending: Callable[[], Awaitable[None]],
) -> None:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=CUT_SECONDS,
        timeout_keep_alive=IDLE_SECONDS,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not over() and not serving.done():
        await asyncio.sleep(LOOK_SECONDS)
    await ending()
    server.should_exit = True
    await serving


def place_of(scope: Scope) -> Place:
    """What a request asks for, and who; behind a proxy on this machine, who that says."""
    client: tuple[str, int] | None = scope.get("client")
    return Place(scope["path"], client[0] if client else "")


class _Server(uvicorn.Server):
    """Signals belong to run_service: uvicorn would take them over, and raise them again when it has ended."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = True
