"""What every request to /v1 passes first: API key, kind and size of its body."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pawl_inference import errors, metrics
from pawl_inference.errors import ApiError
from pawl_inference.otlp import PROTOBUF

TRACES = "/v1/traces"


def respond(error: ApiError) -> JSONResponse:
    """An error as a response; counted."""
    metrics.ERRORS.labels(str(error.status), error.code or "").inc()
    return JSONResponse(error.body(), error.status, dict(error.headers))


class Edge:
    """ASGI middleware. The body is read here, so that a client cannot send more than is allowed."""

    def __init__(self, app: ASGIApp, api_keys: Sequence[str], max_bytes: int, max_trace_bytes: int) -> None:
        self._app = app
        self._api_keys = [key.encode() for key in api_keys]
        self._limits = {TRACES: (max_trace_bytes, "PAWL_MAX_TRACE_BYTES")}
        self._limit = (max_bytes, "PAWL_MAX_REQUEST_BYTES")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is allowed, with its body; answer the rest."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            self._authorize(headers.get("authorization", ""))
            if scope["method"] == "POST":
                self._check_kind(headers.get("content-type", ""), scope["path"])
                limit = self._limits.get(scope["path"], self._limit)
                receive = _replay(await self._body(headers, receive, *limit), receive)
        except ClientDisconnect:
            return
        except ApiError as error:
            await respond(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _authorize(self, authorization: str) -> None:
        """Every key is compared, in constant time, so that the time tells nothing."""
        given = authorization.removeprefix("Bearer ").strip().encode()
        matches = [hmac.compare_digest(given, key) for key in self._api_keys]
        if self._api_keys and not any(matches):
            raise errors.unauthorized()

    def _check_kind(self, content_type: str, path: str) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        if kind != "application/json" and not (kind == PROTOBUF and path == TRACES):
            raise ApiError(
                415,
                f"Unsupported content type {kind!r}: send JSON as Content-Type: application/json.",
                "unsupported_content_type",
            )

    async def _body(self, headers: Headers, receive: Receive, most: int, setting: str) -> bytes:
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > most:
            raise _too_large(most, setting)
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise _too_large(most, setting)
            more = message.get("more_body", False)
        return b"".join(parts)


def _too_large(most: int, setting: str) -> ApiError:
    return ApiError(413, f"The request is larger than {most} bytes ({setting}).", "request_too_large")


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once, then what the client does next."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
