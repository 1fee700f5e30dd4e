"""What the HTTP API answers, and the batch of feedback: OpenAI's words, and Pawl's additions."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from pawl_inference.bodies.generation_body import Body
from pawl_inference.domain.feedback import FeedbackItem
from pawl_shared.events import Arm, UtcDatetime


class FeedbackBatch(Body):
    """Several statements in one post."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: list[FeedbackItem] = Field(min_length=1, max_length=1000)


class FeedbackAccepted(Body):
    """202: the broker has all of it."""

    accepted: int
    ids: list[str]


class CalledFunction(Body):
    name: str
    arguments: str = Field(description="JSON text of an object")


class AnswerCall(Body):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class AnswerMessage(Body):
    role: Literal["assistant"] = "assistant"
    content: str | None = Field(description="none: the answer is calls alone")
    refusal: None = None
    tool_calls: list[AnswerCall] | None = Field(default=None, description="only where there are some")


class TopLogprob(Body):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(Body):
    content: list[TokenLogprob]
    refusal: None = None


class AnswerChoice(Body):
    index: int
    message: AnswerMessage
    logprobs: ChoiceLogprobs | None = None
    finish_reason: Literal["stop", "length", "tool_calls"]


class PromptTokensDetails(Body):
    cached_tokens: int = Field(description="that were not computed again, as an earlier prompt began with them")


class Usage(Body):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class AnswerMetadata(Body):
    """Pawl's own part of an answer."""

    feedback_token: str = Field(description="gives the right to rate this answer until it expires; the first choice's")
    feedback_tokens: list[str] | None = Field(default=None, description="of several choices: one each, in their order")
    inference_id: str
    version: str = Field(description="digest of the base or adapter that answered")
    arm: Arm


class ChatCompletion(Body):
    """An answer; `id` is its inference id, `system_fingerprint` the version that answered."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[AnswerChoice]
    usage: Usage
    metadata: AnswerMetadata


class TextLogprobs(Body):
    """Of each token; `top_logprobs` with the chosen one."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int] = Field(description="characters of the answer before each token")


class TextChoice(Body):
    text: str
    index: int
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"]


class TextCompletion(Body):
    """How texts go on; `id` is the inference id, `system_fingerprint` the version that answered."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage
    metadata: AnswerMetadata


Status = Literal["champion", "challenger", "experiment", "base"]


class ModelDeployment(Body):
    """The latest change of who serves a model, and who made it."""

    revision: int
    change: str
    time: UtcDatetime
    who: str
    reasons: list[str]


class Model(Body):
    """A route or a version; from `version` on, Pawl's own part."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "pawl"
    version: str = Field(description="digest of the base or adapter; of a route: its champion's")
    base: str = Field(description="digest of the base model")
    parent: str | None = Field(description="digest of what an adapter was trained on; none: a base model")
    run: str | None = Field(description="id of the training run that made it; none: a base model")
    status: Status
    share: float | None = Field(description="of a challenger: the share of sessions that it answers")
    deployment: ModelDeployment


class ModelList(Body):
    object: Literal["list"] = "list"
    data: list[Model]


class ErrorBody(Body):
    message: str
    type: str
    param: str | None
    code: str | None


class Error(Body):
    """Every error has this shape."""

    error: ErrorBody
