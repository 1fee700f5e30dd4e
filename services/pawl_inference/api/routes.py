"""The HTTP API: OpenAI's chat completions and models, feedback, health and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.exceptions import HTTPException

from pawl_inference import errors
from pawl_inference.api import (
    chat_presentation,
    description,
    external_routes,
    model_routes,
    presentation,
    text_presentation,
)
from pawl_inference.api.edge import Edge, respond
from pawl_inference.api.otlp import TraceHandler
from pawl_inference.api.presentation import AnswerStream, Event
from pawl_inference.bodies.chat_body import ChatRequest
from pawl_inference.bodies.feedback_body import FEEDBACK_POST, FEEDBACK_REQUEST
from pawl_inference.bodies.schemas import (
    ChatCompletion,
    Error,
    FeedbackAccepted,
    TextCompletion,
)
from pawl_inference.bodies.text_body import TextRequest
from pawl_inference.errors import ApiError
from pawl_inference.handlers.answering import Answer, AnswerHandler
from pawl_inference.handlers.external import ExternalHandler
from pawl_inference.handlers.feedback import FeedbackHandler
from pawl_inference.handlers.prompts import ChatPrompt, TextPrompt
from pawl_inference.versions.routing import RouteTable
from pawl_shared import logging
from pawl_shared.access.service import Access
from pawl_shared.service import Health

log = logging.get(__name__)
T = TypeVar("T")
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": text}
    for status, text in {
        400: "A field is missing, wrong or not supported; `param` names it.",
        401: "No API key, or a wrong one.",
        403: "The API key lacks the scope, or the feedback token gives no right to rate this answer.",
        404: "No such model or URL.",
        408: "The body did not arrive in time.",
        413: "The body is too large.",
        415: "The body is not JSON.",
        429: "The queue is full; see Retry-After.",
        503: "Not ready, ending, out of time, the journal is full, or the broker is away; see Retry-After.",
    }.items()
}


def create(
    *,
    answers: AnswerHandler,
    feedback: FeedbackHandler,
    external: ExternalHandler,
    traces: TraceHandler,
    routes: RouteTable,
    health: Health,
    access: Access,
    feedback_origins: Sequence[str] = (),
    max_request_bytes: int,
    max_trace_bytes: int,
) -> FastAPI:
    """The ASGI application."""
    app = FastAPI(
        title="Pawl inference",
        version=version("pawl"),
        description="OpenAI-compatible chat completions that learn from feedback.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # to where `Host` says, and behind a proxy without TLS
    )
    _add_chat(app, answers)
    _add_completions(app, answers)
    model_routes.add(app, routes, _responses(401, 404, 503))
    _add_feedback(app, feedback)
    external_routes.add(app, external, _responses(400, 401, 413, 415, 503))
    external_routes.add_traces(app, traces, _responses(400, 401, 413, 415, 503))
    _add_health(app, health, access)
    _add_error_handlers(app)
    description.complete(app)
    app.add_middleware(
        Edge, access=access, origins=feedback_origins, max_bytes=max_request_bytes, max_trace_bytes=max_trace_bytes
    )
    return app


def _responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What needs a key may also lack its scope, and what has a body may stall."""
    asked = {*statuses, *({403} if 401 in statuses else ()), *({408} if 413 in statuses else ())}
    return {status: _ERRORS[status] for status in sorted(asked)}


def _add_chat(app: FastAPI, answers: AnswerHandler) -> None:
    @app.post(
        "/v1/chat/completions",
        response_model=ChatCompletion,
        responses=_responses(400, 401, 404, 413, 415, 429, 503),
        summary="Answer a conversation, at once or as server-sent events",
    )
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        answer = await answers.answer(body, [ChatPrompt(body.messages, body.offered)], request.headers)
        if body.stream:
            return await _streamed(request, answer, chat_presentation.stream(answer))
        return await _whole(request, answer, chat_presentation.whole(answer))


def _add_completions(app: FastAPI, answers: AnswerHandler) -> None:
    @app.post(
        "/v1/completions",
        response_model=TextCompletion,
        responses=_responses(400, 401, 404, 413, 415, 429, 503),
        summary="Go on with a text, without a chat template, at once or as server-sent events",
    )
    async def completions(body: TextRequest, request: Request) -> Response:
        answer = await answers.answer(body, [TextPrompt(each) for each in body.prompts], request.headers)
        if body.stream:
            return await _streamed(request, answer, text_presentation.stream(answer, body))
        return await _whole(request, answer, text_presentation.whole(answer, body))


def _add_feedback(app: FastAPI, feedback: FeedbackHandler) -> None:
    @app.post(
        "/v1/feedback",
        status_code=202,
        response_model=FeedbackAccepted,
        responses=_responses(400, 401, 413, 415, 503),
        summary="Say what somebody thought of an answer; accepted when the broker has it",
        openapi_extra=FEEDBACK_REQUEST,
    )
    async def post_feedback(request: Request) -> Response:
        # Parsed here: FastAPI's own way from a body to a model and back takes as long as all the rest together.
        try:
            body = FEEDBACK_POST.validate_json(raw := await request.body())
        except ValidationError as error:
            return respond(errors.from_validation(error.errors(include_url=False, include_input=False), _json(raw)))
        accepted = await feedback.post(body, request.headers.get("idempotency-key"))
        return Response(accepted.model_dump_json(), 202, media_type="application/json")


def _add_health(app: FastAPI, health: Health, access: Access) -> None:
    @app.get("/healthz", response_class=PlainTextResponse, summary="The process lives")
    async def healthz() -> str:
        return "alive\n"

    @app.get("/readyz", response_class=PlainTextResponse, summary="Ready to answer, or 503 with the reasons")
    async def readyz(request: Request) -> Response:
        told = health.told(access.tells(request.headers.get("authorization")))
        return PlainTextResponse(f"{told}\n", 200 if health.ready else 503)

    @app.get("/metrics", response_class=PlainTextResponse, responses=_responses(401, 503), summary="Prometheus metrics")
    async def prometheus() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _add_error_handlers(app: FastAPI) -> None:
    async def api(_: Request, error: Exception) -> Response:
        return respond(error if isinstance(error, ApiError) else errors.internal())

    async def validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError), "it is registered for these"
        found = [each | {"loc": each["loc"][1:]} for each in error.errors()]  # behind "body"
        return respond(errors.from_validation(found, error.body))

    async def http(request: Request, error: Exception) -> Response:
        status, headers = (error.status_code, error.headers or {}) if isinstance(error, HTTPException) else (500, {})
        if status == 404:
            text = f"Invalid URL ({request.method} {request.url.path})"
            return respond(ApiError(404, text, "unknown_url"))
        if status == 405:
            text = f"Not allowed to {request.method} on {request.url.path}"
            return respond(ApiError(405, text, "method_not_allowed", headers=headers))
        return respond(ApiError(400, "We could not parse the JSON body of your request.", "invalid_json"))

    app.add_exception_handler(ApiError, api)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, api)


def _json(raw: bytes) -> object:
    with suppress(ValueError):
        return from_json(raw)
    return None  # which the error says


async def _whole(request: Request, answer: Answer, body: Awaitable[dict[str, Any]]) -> Response:
    done = await _had(request, answer, body)
    return Response() if done is None else JSONResponse(done, headers=presentation.headers(answer))


async def _streamed(request: Request, answer: Answer, events: AsyncGenerator[Event, None]) -> Response:
    """The status waits for the first token: an answer that fails before has an error's own, and clients ask again."""
    first = await _had(request, answer, anext(events))
    return Response() if first is None else AnswerStream(answer, first, events)


async def _had(request: Request, answer: Answer, work: Awaitable[T]) -> T | None:
    """What an answer gives, or None: its client has left. Raises ApiError, by whose header the answer is found in logs.

    Only where there is a result is the answer left open.
    """
    try:
        found = await _unless_gone(request, work)
    except BaseException as error:
        answer.close()
        if isinstance(error, ApiError):
            error.headers = {**error.headers, **presentation.request_id(answer)}
        raise
    if found is None:
        answer.close()
    return found


async def _unless_gone(request: Request, work: Awaitable[T]) -> T | None:
    """The result of `work`, or None: it is cancelled when the client has left, so that nothing is computed in vain."""
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        watcher.cancel()
        task.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
