"""The web server of the services that have an API: on a port that is bound first, until the service ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import Scope

from pawl_shared.access import Place

LOOK_SECONDS = 0.1


def serve(
    app: Callable[..., Any],
    listener: socket.socket,
    over: Callable[[], bool],
    *,
    grace: int,
    ending: Callable[[], None] = lambda: None,
) -> None:
    """Serve until `over` answers true, or until the server ends by itself.

    Args:
        listener: where to listen, as service.listen() answers it.
        grace: seconds that answers in flight may take at the end before they are cut.
        ending: called before that, to end what would go on without end.
    """
    asyncio.run(_serve(app, listener, over, grace, ending))


async def _serve(
    app: Callable[..., Any], listener: socket.socket, over: Callable[[], bool], grace: int, ending: Callable[[], None]
) -> None:
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=grace)
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not over() and not serving.done():
        await asyncio.sleep(LOOK_SECONDS)
    ending()
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
