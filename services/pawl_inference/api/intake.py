"""What is being answered, and whether anything more is: at the end of a replica's life, nothing is."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from pawl_inference import errors
from pawl_inference.api.edge import respond


class Intake:
    """ASGI middleware. Requests to /v1 are counted until their last byte; closed, each gets a 503 at once, and its
    connection is closed, so that a client or a balancer asks elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._closed = False
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on and count, or refuse."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
        elif self._closed:
            response = respond(errors.ending())
            response.headers["connection"] = "close"
            await response(scope, receive, send)
        else:
            self._open += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._open -= 1

    def close(self) -> None:
        """Take nothing more."""
        self._closed = True

    @property
    def idle(self) -> bool:
        """Whether nothing is being answered."""
        return self._open == 0
