"""The part of the HTTP API for answers that were made elsewhere."""

from __future__ import annotations

import re
from typing import Annotated, Any
from uuid import UUID

from fastapi import FastAPI, Header, Request, Response

from pawl_inference import errors
from pawl_inference.api.otlp import JSON, PROTOBUF, TraceHandler
from pawl_inference.bodies.external_body import ExternalAccepted, ExternalPost, FeedbackToken
from pawl_inference.domain.external import TokenRequest, span_id
from pawl_inference.handlers.external import ExternalHandler

_SPAN = re.compile(r"([0-9a-f]{32}):([0-9a-f]{16})", re.IGNORECASE)
_OTLP = {PROTOBUF: {"schema": {"type": "string", "format": "binary"}}, JSON: {"schema": {"type": "object"}}}
Responses = dict[int | str, dict[str, Any]]


def add(app: FastAPI, external: ExternalHandler, responses: Responses) -> None:
    """Add the routes; `responses` describes what may go wrong with any of them."""

    @app.post(
        "/v1/inferences",
        status_code=202,
        responses=responses,
        summary="Log an answer that was made elsewhere, or several; accepted when the journal has them",
    )
    async def post_inferences(
        body: ExternalPost,
        idempotency_key: Annotated[
            str | None, Header(description="a repeat with the same key and content counts once")
        ] = None,
    ) -> ExternalAccepted:
        return external.post(body, idempotency_key)

    @app.post(
        "/v1/inferences/{inference}/token",
        responses=responses,
        summary="The feedback token of an answer that was made elsewhere, e.g. of one that was told of by a span",
    )
    async def post_token(inference: str, body: TokenRequest) -> FeedbackToken:
        return external.token(_identity(inference), body)


def add_traces(app: FastAPI, traces: TraceHandler, responses: Responses) -> None:
    """Add OTLP's route."""

    @app.post(
        "/v1/traces",
        response_class=Response,
        responses={**responses, 200: {"description": "OTLP's ExportTraceServiceResponse", "content": _OTLP}},
        summary="OTLP by HTTP: chat spans are logged as answers that were made elsewhere",
        openapi_extra={"requestBody": {"required": True, "content": _OTLP}},
    )
    async def post_traces(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = request.headers.get("content-encoding", "").strip().lower()
        return Response(await traces.post(await request.body(), kind, encoding), media_type=kind)


def _identity(text: str) -> UUID:
    """Of an inference id, or of TRACE_ID:SPAN_ID in hex."""
    if span := _SPAN.fullmatch(text):
        return span_id(*span.groups())
    try:
        return UUID(text)
    except ValueError as error:
        raise errors.invalid("inference", "It is neither an id (UUID) nor TRACE_ID:SPAN_ID in hex.") from error
