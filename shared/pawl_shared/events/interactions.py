"""What happened between app and model, and what streams makes of it."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from pawl_shared.events.base import MAX_INT, MAX_LONG, Arm, Digest, Event, Finite, Fraction, SealedText, Sketch, Value


class Message(Value):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: SealedText


class Sampling(Value):
    """How an answer was drawn."""

    temperature: Finite = 1.0
    top_p: Finite = 1.0
    max_tokens: Annotated[int, Field(ge=0, le=MAX_INT)] | None = None
    seed: Annotated[int, Field(ge=-MAX_LONG - 1, le=MAX_LONG)] | None = Field(
        default=None, description="of this choice: sent by itself it gives this answer again"
    )
    stop: tuple[str, ...] = ()
    top_k: int = Field(default=0, ge=0, le=MAX_INT, description="0: among all tokens")
    min_p: Finite = 0.0
    presence_penalty: Finite = 0.0
    frequency_penalty: Finite = 0.0
    repetition_penalty: Finite = 1.0
    logit_bias: dict[Annotated[int, Field(ge=0, le=MAX_INT)], Finite] = Field(
        default_factory=dict, description="by token id: what was added to its logits"
    )


class InferenceLogged(Event):
    """One answer, exactly as it was given."""

    TYPE = "pawl.inference.logged.v1"
    KEY = "session"

    inference_id: UUID
    choice: int = Field(default=0, ge=0, le=MAX_INT)
    model: str
    session: str
    subject: str | None = Field(default=None, description="keyed hash of the app's user id")
    messages: tuple[Message, ...]
    form: Literal["chat", "text", "tools"] = Field(
        default="chat",
        description="text: the one message went to the model as it is, without a chat template; tools: the template "
        "was given tools, or turns hold calls",
    )
    tools: SealedText = Field(default="", description="JSON list of the tools that the model was shown")
    bound: SealedText = Field(
        default="",
        description="JSON of response_format, tool_choice and parallel_tool_calls, if they bound the answer",
    )
    called: tuple[str, ...] = Field(
        default=(),
        description="functions that the answer calls, in order; it holds the calls as the model wrote them",
    )
    answer: SealedText
    answer_words: int | None = Field(default=None, ge=0, le=MAX_INT, description="counted before the answer was sealed")
    finish_reason: Literal["stop", "length", "cancelled"]
    failed: bool = Field(default=False, description="the engine failed at it; its finish_reason is `cancelled`")
    arm: Arm
    version: Digest = Field(description="base or adapter digest that answered")
    canary: UUID | None = None
    revision: int = Field(ge=0, le=MAX_INT, description="deployment revision that was applied")
    template_version: str = Field(default="", description="digest of the chat template")
    experiment: UUID | None = None
    experiment_arm: str = Field(default="", description="name of the arm that the session met")
    prompt_version: str = Field(
        default="", description="digest of the system prompt that the arm put before the messages; they hold none of it"
    )
    sampling: Sampling = Sampling()
    prompt_tokens: int = Field(ge=0, le=MAX_INT)
    answer_tokens: int = Field(ge=0, le=MAX_INT)
    first_token_seconds: Finite = Field(ge=0)
    total_seconds: Finite = Field(ge=0)
    metadata: dict[str, str] = Field(default_factory=dict, description="the app's own tags, readable for all")
    provider: str = Field(default="", description="of an answer that was made elsewhere: who answered")
    provider_model: str = Field(default="", description="of such an answer: its provider's name for what answered")

    @property
    def words(self) -> int:
        """Words of the answer; nobody needs a key to know them."""
        return len(self.answer.split()) if self.answer_words is None else self.answer_words


class FeedbackReceived(Event):
    """One statement about one answer. A comparison arrives as two of them, one won and one lost; an outcome is said of
    one answer and counts for its whole session."""

    TYPE = "pawl.feedback.received.v1"
    KEY = "session"

    inference_id: UUID
    choice: int = Field(default=0, ge=0, le=MAX_INT)
    model: str
    session: str
    subject: str | None = None
    kind: Literal["thumb", "rating", "correction", "comparison", "comment", "signal", "metric", "outcome"]
    name: str = Field(default="", max_length=100, description="of the signal, metric or outcome")
    value: Finite | None = Field(
        default=None, description="thumb, comparison: 1 or 0; rating: 1-5; outcome: from 0 to 1; else a number"
    )
    text: SealedText | None = Field(default=None, description="the correction or comment, sealed like the answer")
    other_inference_id: UUID | None = Field(default=None, description="the answer it was compared with")
    other_choice: int = Field(default=0, ge=0, le=MAX_INT, description="which choice of it")
    via: Literal["edge", "kafka"] = Field(
        default="edge", description="who checked its token: inference, or streams for what was sent straight to Kafka"
    )
    review: UUID | None = Field(
        default=None, description="the review in which somebody judged the answer of others; never evidence"
    )
    who: str = Field(default="", max_length=200, description="of a review: the reviewer")


class InteractionScored(Event):
    """A revision of what is known of one answer: text with its first revision, feedback with the later ones. Revisions
    of one number say the same of it. One without text and feedback: what was said of the session changed its reward."""

    TYPE = "pawl.interaction.scored.v1"
    KEY = "session"

    inference_id: UUID
    choice: int = Field(default=0, ge=0, le=MAX_INT)
    model: str
    session: str
    revision: int = Field(
        ge=0, le=MAX_INT, description="grows with what is known of the answer; 0: came too late to count"
    )
    inference: InferenceLogged | None = Field(default=None, description="in the revision of its arrival")
    feedback: FeedbackReceived | None = Field(default=None, description="the feedback of this revision")
    reward: Fraction | None = Field(default=None, description="of all feedback so far, by policy; none without any")
    rated: bool = False
    joined: bool = Field(default=True, description="false: feedback whose inference is not known (yet)")
    reason: str = Field(default="", description="why it is not joined")
    language: str | None = Field(default=None, description="of the last prompt, ISO 639; with the inference")
    answer_language: str | None = Field(default=None, description="of the answer; none: nobody can tell")
    statistics: dict[str, Finite] = Field(
        default_factory=dict, description="of the inference's texts: turns, words and characters of prompt and answer"
    )
    prompt_sketch: Sketch = ""
    scrubbed: dict[str, int] = Field(
        default_factory=dict, description="personal data that was replaced in this revision's texts, by kind"
    )
