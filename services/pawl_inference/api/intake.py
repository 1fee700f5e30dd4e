"""What is being answered, and whether anything more is: at the end of a replica's life, nothing is."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pawl_inference import errors
from pawl_inference.api.edge import respond


class Intake:
    """ASGI middleware. Requests to /v1 are counted until their last byte; closed, each gets a 503 at once, and its
    connection is closed, so that a client or a balancer asks elsewhere. So does what is still being sent when all is
    cut: nothing of it has been answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._closed = False
        self._open = 0
        self._cut = False
        self._arriving: set[asyncio.Task[Any] | None] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on and count, or refuse."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
        elif self._closed:
            await _refuse(scope, receive, send)
        else:
            await self._pass(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()

        async def arriving() -> Message:
            message = await receive()
            if not message.get("more_body"):
                self._arriving.discard(task)
            return message

        self._open += 1
        self._arriving.add(task)
        try:
            await self._app(scope, arriving, send)
        except asyncio.CancelledError:
            if not self._cut or task not in self._arriving:
                raise
            await _refuse(scope, receive, send)
        finally:
            self._arriving.discard(task)
            self._open -= 1

    def close(self) -> None:
        """Take nothing more."""
        self._closed = True

    def cut(self) -> None:
        """Wait no longer for what is still being sent. To be called on the server's loop."""
        self._cut = True
        for task in self._arriving:
            if task is not None:
                task.cancel()

    @property
    def idle(self) -> bool:
        """Whether nothing is being answered."""
        return self._open == 0


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    response = respond(errors.ending())
    response.headers["connection"] = "close"
    await response(scope, receive, send)
