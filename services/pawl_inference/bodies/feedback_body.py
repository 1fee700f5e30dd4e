"""The body of a post of feedback: one statement of an app, or a batch of them; how it is read and described."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag, TypeAdapter
from pydantic.json_schema import models_json_schema

from pawl_inference.bodies.schemas import FeedbackBatch
from pawl_inference.domain.feedback import FeedbackItem

FeedbackPost = Annotated[
    Annotated[FeedbackItem, Tag("item")] | Annotated[FeedbackBatch, Tag("batch")],
    Discriminator(lambda body: "batch" if isinstance(body, dict) and "events" in body else "item"),
]
FEEDBACK_POST: TypeAdapter[FeedbackItem | FeedbackBatch] = TypeAdapter(FeedbackPost)

_REF = "#/components/schemas/{model}"
# For OpenAPI, since the route reads its body itself.
FEEDBACK_SCHEMAS: dict[str, Any] = models_json_schema(
    [(FeedbackItem, "validation"), (FeedbackBatch, "validation")], ref_template=_REF
)[1]["$defs"]
_KEY = "a repeat with the same key counts once"
FEEDBACK_REQUEST: dict[str, Any] = {
    "parameters": [
        {
            "name": "idempotency-key",
            "in": "header",
            "required": False,
            "description": _KEY,
            "schema": {
                "anyOf": [{"type": "string"}, {"type": "null"}],
                "description": _KEY,
                "title": "Idempotency-Key",
            },
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [{"$ref": _REF.format(model=each.__name__)} for each in (FeedbackItem, FeedbackBatch)],
                    "title": "Body",
                }
            }
        },
    },
}
