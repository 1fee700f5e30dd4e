"""The body of a chat completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt, model_validator

from pawl_inference.domain import parameters
from pawl_inference.domain.parameters import Rule
from pawl_inference.generation_body import MAX_TOKENS, Body, GenerationBody, Text, refusal

# A message takes some 150 bytes in the log, sealed and with its names: so many empty ones still fit into a record.
MAX_MESSAGES = 2_048


class TextPart(Body):
    """A part of a message; text is the only kind."""

    type: Literal["text"]
    text: Text


class ChatMessage(Body):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]

    @property
    def text(self) -> str:
        """The content; parts are joined."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(GenerationBody):
    """A conversation to go on. OpenAI's other parameters get a 400 that names them, unless they ask for nothing."""

    PARAMETERS: ClassVar[Mapping[str, Rule]] = parameters.CHAT
    PROMPT: ClassVar[str] = "messages"

    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    max_completion_tokens: Annotated[StrictInt, Field(ge=1, le=MAX_TOKENS)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ChatRequest:
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise refusal("max_completion_tokens", "max_tokens differs from it; send only one of them")
        if self.top_logprobs and not self.logprobs:
            raise refusal("top_logprobs", "it needs logprobs: true")
        return self

    @property
    def limit(self) -> int | None:
        """See GenerationBody.limit."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def likeliest(self) -> int | None:
        """See GenerationBody.likeliest."""
        return (self.top_logprobs or 0) if self.logprobs else None
