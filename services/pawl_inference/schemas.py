"""Bodies of the HTTP API: OpenAI's chat completions, models, and Pawl's feedback."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pawl_inference.domain.feedback import FeedbackItem
from pawl_inference.domain.parameters import refused
from pawl_shared.events import Arm, Finite

MAX_STOPS = 4
# A message takes some 150 bytes in the log, sealed and with its names: so many empty ones still fit into a record.
MAX_MESSAGES = 2_048
# Counts are kept as 32-bit numbers; no context comes near it.
MAX_TOKENS = 2**31 - 1


def _unicode(text: str) -> str:
    """JSON can write half a surrogate pair, which no text can hold; pydantic notices it only beside a length."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a surrogate pair, which is not valid Unicode") from error
    return text


Text = Annotated[str, AfterValidator(_unicode)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Stop = Annotated[str, Field(min_length=1, max_length=256)]
# OpenAI's limits for metadata: 16 pairs, keys of 64 and values of 512 characters.
Tags = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True)


class TextPart(_Body):
    """A part of a message; text is the only kind."""

    type: Literal["text"]
    text: Text


class ChatMessage(_Body):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]

    @property
    def text(self) -> str:
        """The content; parts are joined."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(_Body):
    include_usage: StrictBool | None = None


class Conversation(_Body):
    id: Name


class ChatRequest(_Body):
    """A conversation to go on. OpenAI's other parameters get a 400 that names them, unless they ask for nothing."""

    model: Name = Field(description="a route (`assistant`), or one version of it (`assistant@<digest prefix>`)")
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    temperature: Annotated[Finite, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Finite, Field(gt=0, le=1)] | None = None
    seed: Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1, le=MAX_TOKENS)] | None = None
    max_completion_tokens: Annotated[StrictInt, Field(ge=1, le=MAX_TOKENS)] | None = None
    n: Literal[1] | None = Field(default=None, description="number of answers")
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    user: Name | None = Field(default=None, description="the app's user id; only a keyed hash of it is kept")
    metadata: Tags | None = Field(default=None, description="the app's tags; `session_id` fixes the session")
    conversation: Name | Conversation | None = Field(default=None, description="fixes the session too")

    @model_validator(mode="before")
    @classmethod
    def _nothing_ignored(cls, body: Any) -> Any:
        if isinstance(body, dict) and (param := refused(body)):
            raise PydanticCustomError("unsupported_parameter", "is not supported", {"param": param})
        return body

    @model_validator(mode="after")
    def _consistent(self) -> ChatRequest:
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens differ; send only one of them")
        if self.stream_options and not self.stream:
            raise ValueError("stream_options needs stream: true")
        return self

    @property
    def limit(self) -> int | None:
        """How many tokens the answer may have."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def session_id(self) -> str | None:
        """The session, where the app fixes it."""
        return (self.metadata or {}).get("session_id") or None

    @property
    def conversation_id(self) -> str | None:
        """The conversation, where the app names it."""
        return self.conversation.id if isinstance(self.conversation, Conversation) else self.conversation


class FeedbackBatch(_Body):
    """Several statements in one post."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: list[FeedbackItem] = Field(min_length=1, max_length=1000)


class FeedbackAccepted(_Body):
    """202: the broker has all of it."""

    accepted: int
    ids: list[str]


class AnswerMessage(_Body):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class AnswerChoice(_Body):
    index: int
    message: AnswerMessage
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class Usage(_Body):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMetadata(_Body):
    """Pawl's own part of an answer."""

    feedback_token: str = Field(description="gives the right to rate this answer until it expires")
    inference_id: str
    version: str = Field(description="digest of the base or adapter that answered")
    arm: Arm


class ChatCompletion(_Body):
    """An answer; `id` is its inference id, `system_fingerprint` the version that answered."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[AnswerChoice]
    usage: Usage
    metadata: AnswerMetadata


class Model(_Body):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "pawl"


class ModelList(_Body):
    object: Literal["list"] = "list"
    data: list[Model]


class ErrorBody(_Body):
    message: str
    type: str
    param: str | None
    code: str | None


class Error(_Body):
    """Every error has this shape."""

    error: ErrorBody
