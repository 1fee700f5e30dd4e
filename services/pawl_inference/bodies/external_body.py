"""The bodies of /v1/inferences: how they are read, answered and described."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from pawl_inference.domain.external import ExternalBatch, ExternalInference

ExternalPost = Annotated[
    Annotated[ExternalInference, Tag("item")] | Annotated[ExternalBatch, Tag("batch")],
    Discriminator(lambda body: "batch" if isinstance(body, dict) and "inferences" in body else "item"),
]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True)


class FeedbackToken(_Body):
    """The right to rate an answer."""

    id: UUID = Field(description="inference id")
    feedback_token: str = Field(description="gives the right to rate this answer until it expires")


class ExternalLogged(FeedbackToken):
    """An answer that is in the journal."""

    choice: int
    version: str = Field(description="digest that stands for the provider's model")


class ExternalAccepted(_Body):
    """202: the journal has all of it."""

    accepted: int
    inferences: list[ExternalLogged]
