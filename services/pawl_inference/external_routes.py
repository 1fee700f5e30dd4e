"""The part of the HTTP API for answers that were made elsewhere."""

from __future__ import annotations

import re
from typing import Annotated, Any
from uuid import UUID

from fastapi import FastAPI, Header

from pawl_inference import errors
from pawl_inference.domain.external import TokenRequest, span_id
from pawl_inference.external import ExternalHandler
from pawl_inference.external_body import ExternalAccepted, ExternalPost, FeedbackToken

_SPAN = re.compile(r"([0-9a-f]{32}):([0-9a-f]{16})", re.IGNORECASE)
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


def _identity(text: str) -> UUID:
    """Of an inference id, or of TRACE_ID:SPAN_ID in hex."""
    if span := _SPAN.fullmatch(text):
        return span_id(*span.groups())
    try:
        return UUID(text)
    except ValueError as error:
        raise errors.invalid("inference", "It is neither an id (UUID) nor TRACE_ID:SPAN_ID in hex.") from error
