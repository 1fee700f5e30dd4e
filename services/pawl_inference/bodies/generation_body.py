"""What the bodies of chat and text completions have in common: how the answer is drawn, and who asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from pawl_inference.domain.fields import MAX_TOKENS, Name, Number, Tags
from pawl_inference.domain.parameters import Rule, refused
from pawl_inference.engine.constraint import Constraint

MAX_STOPS = 4
# As many as the engine decodes at once by default: more would wait for each other.
MAX_CHOICES = 8
Stop = Annotated[str, Field(min_length=1, max_length=256)]
Penalty = Annotated[Number, Field(ge=-2, le=2)]
TokenId = Annotated[str, Field(pattern="^(0|[1-9][0-9]{0,9})$")]
# Each is logged with the answer; more than this are a grammar's work.
Biases = Annotated[dict[TokenId, Annotated[Number, Field(ge=-100, le=100)]], Field(max_length=1024)]


def refusal(param: str, reason: str) -> PydanticCustomError:
    """To be raised by a validator: this parameter does not fit to others."""
    return _error(param, "invalid_value", f"Invalid value for '{param}': {reason}.")


def _error(param: str, code: str, text: str) -> PydanticCustomError:
    return PydanticCustomError("refused_parameter", "it is refused", {"param": param, "code": code, "text": text})


class Body(BaseModel):
    model_config = ConfigDict(frozen=True)


class StreamOptions(Body):
    include_usage: StrictBool | None = None


class Conversation(Body):
    id: Name


class GenerationBody(Body):
    """A request for answers. What is not in its table of parameters gets a 400 that names it."""

    PARAMETERS: ClassVar[Mapping[str, Rule]] = {}
    PROMPT: ClassVar[str] = ""  # the parameter that holds what is asked
    DEFAULT_LIMIT: ClassVar[int | None] = None  # tokens of an answer where nobody limits it; none: the context does

    model: Name = Field(description="a route (`assistant`), or one version of it (`assistant@<digest prefix>`)")
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    top_k: Annotated[StrictInt, Field(ge=-1, le=MAX_TOKENS)] | None = Field(
        default=None, description="draw among so many tokens; 0 and -1: among all"
    )
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        default=None, description="draw among tokens with at least this share of the likeliest one's probability"
    )
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    # Far smaller or larger ones leave float32.
    repetition_penalty: Annotated[Number, Field(ge=0.1, le=10)] | None = Field(
        default=None, description="divides what prompt and answer hold already; 1: off"
    )
    logit_bias: Biases | None = Field(
        default=None, description="added to the logits of token ids, before penalties; -100 bans a token, 100 forces it"
    )
    seed: Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1, le=MAX_TOKENS)] | None = None
    n: Annotated[StrictInt, Field(ge=1, le=MAX_CHOICES)] | None = Field(default=None, description="number of answers")
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    user: Name | None = Field(default=None, description="the app's user id; only a keyed hash of it is kept")
    safety_identifier: Name | None = Field(default=None, description="the app's user id, where there is no `user`")
    metadata: Tags | None = Field(default=None, description="the app's tags; `session_id` fixes the session")
    conversation: Name | Conversation | None = Field(default=None, description="fixes the session too")

    @model_validator(mode="before")
    @classmethod
    def _nothing_ignored(cls, body: Any) -> Any:
        if isinstance(body, dict) and (found := refused(body, cls.PARAMETERS)):
            raise _error(found.param, found.code, found.message)
        return body

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> GenerationBody:
        if self.stream_options and not self.stream:
            raise refusal("stream_options", "it needs stream: true")
        return self

    @property
    def limit(self) -> int | None:
        """How many tokens each answer may have."""
        return self.max_tokens

    @property
    def offered(self) -> tuple[dict[str, Any], ...]:
        """The tools that the model is shown."""
        return ()

    @property
    def constraint(self) -> Constraint | None:
        """What the answer must be."""
        return None

    @property
    def bound(self) -> str:
        """JSON of the parameters that the constraint comes from; empty: there is none."""
        return ""

    @property
    def likeliest(self) -> int | None:
        """How many likeliest tokens are told of each; none: no log-probabilities at all."""
        return None

    @property
    def person(self) -> str | None:
        """The app's user id."""
        return self.user or self.safety_identifier

    @property
    def choices(self) -> int:
        """How many answers are asked for."""
        return self.n or 1

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with its token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

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
