"""What every request passes first: API key; and what goes to /v1, the kind and size of its body."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pawl_inference import metrics
from pawl_inference.api.otlp import PROTOBUF
from pawl_inference.errors import ApiError
from pawl_shared.access.api_keys import Scope as KeyScope
from pawl_shared.access.service import Access, AccessRefusedError, Place
from pawl_shared.web_server import place_of

# A body that never ends would hold its place for good. So long any may take, and larger ones at 100 kB a second.
BODY_SECONDS, BODY_BYTES_A_SECOND = 60.0, 100_000
FEEDBACK, TRACES, INFERENCES = "/v1/feedback", "/v1/traces", "/v1/inferences"
# Probes, and what docs/openapi.json says as well.
OPEN = frozenset({"/healthz", "/readyz", "/openapi.json"})
_SCOPES: Mapping[str, KeyScope] = {FEEDBACK: "feedback", "/metrics": "ops"}


def scope_of(path: str) -> KeyScope:
    """What a key must be for. The right to rate any answer of which one knows the session is more than that to ask."""
    if path.startswith(f"{INFERENCES}/"):
        return "feedback"
    return _SCOPES.get(path, "infer")


def respond(error: ApiError) -> JSONResponse:
    """An error as a response; counted."""
    metrics.ERRORS.labels(str(error.status), error.code or "").inc()
    return JSONResponse(error.body(), error.status, dict(error.headers))


class Edge:
    """ASGI middleware. The body is read here, so that a client cannot send more than is allowed."""

    def __init__(
        self, app: ASGIApp, access: Access, origins: Sequence[str], max_bytes: int, max_trace_bytes: int
    ) -> None:
        self._app = app
        self._access = access
        self._tokens_suffice = bool(origins)
        self._limits = {TRACES: (max_trace_bytes, "PAWL_MAX_TRACE_BYTES")}
        self._limit = (max_bytes, "PAWL_MAX_REQUEST_BYTES")
        # Only feedback is for pages of other sites: whatever else there is needs a key, which no page can hold.
        self._shared = CORSMiddleware(
            self._pass, origins, allow_methods=["POST"], allow_headers=["Content-Type", "Idempotency-Key"]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is allowed, with its body; answer the rest."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
        elif scope["path"] == FEEDBACK and self._tokens_suffice:
            await self._shared(scope, receive, send)
        else:
            await self._pass(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers, path = Headers(scope=scope), scope["path"]
            self._authorize(headers.get("authorization"), place_of(scope))
            if scope["method"] == "POST" and path.startswith("/v1/"):
                self._check_kind(headers.get("content-type", ""), path)
                limit = self._limits.get(path, self._limit)
                receive = _replay(await self._body(headers, receive, *limit), receive)
        except ClientDisconnect:
            return
        except ApiError as error:
            await respond(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _authorize(self, authorization: str | None, place: Place) -> None:
        if place.path == FEEDBACK and self._tokens_suffice and not authorization:
            return  # the feedback token in it is the right to rate this one answer, and all that a page can hold
        try:
            self._access.admit(authorization, scope_of(place.path), place)
        except AccessRefusedError as error:
            raise ApiError(error.status, error.message, error.code, type=error.type, headers=error.headers) from error

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
        seconds = max(BODY_SECONDS, most / BODY_BYTES_A_SECOND)
        try:
            async with asyncio.timeout(seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise _too_large(most, setting)
                    more = message.get("more_body", False)
        except TimeoutError as error:
            raise _too_slow(seconds) from error
        return b"".join(parts)


def _too_large(most: int, setting: str) -> ApiError:
    return ApiError(413, f"The request is larger than {most} bytes ({setting}).", "request_too_large")


def _too_slow(seconds: float) -> ApiError:
    text = f"The request's body was not complete after {seconds:.0f} seconds; send it again."
    return ApiError(408, text, "request_timeout", headers={"connection": "close"})


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once, then what the client does next."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
