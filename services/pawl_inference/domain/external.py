"""Answers that were made elsewhere: what an app tells of one, and the InferenceLogged that it becomes.

They join, score and count like answers of Pawl's own, under arm `external` and a version that stands for the provider's
model. No canary and no experiment ever sees them: they carry neither, and no deployment's revision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, Literal
from uuid import NAMESPACE_OID, UUID, uuid5

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    WithJsonSchema,
    model_validator,
)

from pawl_inference.domain.assignment import Caller, model_id, resolve_caller
from pawl_inference.domain.fields import MAX_TOKENS, Name, Tags, Text
from pawl_shared.events import Finite, InferenceLogged, Message
from pawl_shared.ids import derived_id

# Streams joins feedback to an answer for so long (PAWL_JOIN_WINDOW): what is older could not be rated any more.
MAX_AGE = timedelta(days=7)
# Clocks of other machines are a little ahead.
MAX_AHEAD = timedelta(minutes=1)
MAX_BATCH = 500
_DAY_SECONDS = 86_400

# As in a model.yaml, the tenant may be left out; `@` would ask for a version of Pawl's own.
ModelName = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\s/@]+(/[^\s/@]+)?$")]
Count = Annotated[StrictInt, Field(ge=0, le=MAX_TOKENS)]
Seconds = Annotated[Finite, Field(ge=0, le=_DAY_SECONDS)]


def _calls(value: Any) -> Any:
    """Calls of tools as JSON, where they enter: what they hold is the app's, however deep."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ValueError("it is no list of calls")
    try:
        return json.dumps(value, sort_keys=True) if value else ""
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


Calls = Annotated[
    str,
    BeforeValidator(_calls),
    WithJsonSchema({"type": "array", "items": {"type": "object"}}),
]
Finish = Literal["stop", "length", "tool_calls", "function_call", "content_filter", "cancelled", "error"]
_ENDINGS: Mapping[str, Literal["length", "cancelled"]] = {
    "length": "length",
    "cancelled": "cancelled",
    "error": "cancelled",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExternalText(_Part):
    """A part of a message; text is the only kind."""

    type: Literal["text"]
    text: Text


_OF_ANSWERS = frozenset({"refusal", "audio", "function_call", "tool_calls", "annotations"})


class ExternalMessage(_Part):
    """One turn, as OpenAI words it."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | list[ExternalText] | None = None
    tool_calls: Calls | None = Field(default=None, description="kept as JSON behind the text")
    tool_call_id: Name | None = Field(default=None, description="of a tool's answer; not kept")
    name: Name | None = Field(default=None, description="of who speaks; not kept")

    @model_validator(mode="before")
    @classmethod
    def _without_empty_fields(cls, turn: Any) -> Any:
        """SDKs send an answer's own turn back with its empty fields."""
        if not isinstance(turn, dict):
            return turn
        return {name: value for name, value in turn.items() if name not in _OF_ANSWERS or value not in (None, [])}

    @property
    def text(self) -> str:
        """The content; parts are joined, and calls of tools follow as JSON."""
        said = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or ())
        if not self.tool_calls:
            return said
        return "\n".join(filter(None, (said, self.tool_calls)))


class ExternalUsage(BaseModel):
    """OpenAI's `usage`; what else it holds is not kept."""

    model_config = ConfigDict(frozen=True)

    prompt_tokens: Count = 0
    completion_tokens: Count = 0


class Whose(_Part):
    """What fixes the session of an answer; see `session_of`."""

    model: ModelName = Field(description="Pawl's name for it; it need not be deployed")
    user: Name | None = Field(default=None, description="the app's user id; only a keyed hash of it is kept")
    session: Name | None = Field(default=None, description="what belongs together; without it: user and day")
    metadata: Tags | None = Field(default=None, description="the app's tags; `session_id` fixes the session, too")
    time: AwareDatetime | None = Field(
        default=None, description="when it was answered, at most 7 days ago; none: by a UUIDv7 in `id`, else now"
    )

    @model_validator(mode="after")
    def _one_session(self) -> Whose:
        told = (self.metadata or {}).get("session_id")
        if self.session and told and told != self.session:
            raise ValueError("session and metadata.session_id differ; send only one of them")
        return self

    @property
    def named_session(self) -> str | None:
        """The session, where the app fixes it."""
        return self.session or (self.metadata or {}).get("session_id") or None

    def caller(self, key: bytes, inference_id: UUID, time: datetime) -> Caller:
        """The session and the keyed hash of the user, as for answers of Pawl's own."""
        return resolve_caller(
            key=key, inference_id=inference_id, now=time, session_id=self.named_session, user=self.user
        )


class TokenRequest(Whose):
    """What an app tells of an answer that it wants to rate, as it told it when it logged the answer."""

    choice: int = Field(default=0, ge=0, le=127)


class ExternalInference(Whose):
    """One answer that was made elsewhere."""

    messages: list[ExternalMessage] = Field(min_length=1, max_length=2_048)
    answer: Text
    id: UUID | None = Field(default=None, description="makes a repeat harmless; none: made here")
    choice: int = Field(default=0, ge=0, le=127, description="of several answers to one request")
    provider: str = Field(default="", max_length=100, description="who answered, e.g. openai")
    provider_model: str = Field(default="", max_length=256, description="what answered, e.g. gpt-5-mini")
    finish_reason: Finish = "stop"
    usage: ExternalUsage = ExternalUsage()
    first_token_seconds: Seconds = Field(default=0.0, description="from the request to the first token")
    total_seconds: Seconds = Field(default=0.0, description="from the request to the end of the answer")


class ExternalBatch(_Part):
    """Several answers in one post."""

    inferences: list[ExternalInference] = Field(min_length=1, max_length=MAX_BATCH)


class AgeError(ValueError):
    """An answer from too long ago, or from the future."""


@dataclass(frozen=True)
class Placed:
    """An answer with its identity, its time and its session."""

    id: UUID
    time: datetime
    caller: Caller


def version_of(provider: str, provider_model: str) -> str:
    """What stands for a provider's model where Pawl's own versions have the digest of their weights."""
    return sha256(json.dumps(["external", provider, provider_model]).encode()).hexdigest()


def keyed_id(key: str, index: int, item: ExternalInference) -> UUID:
    """The id of an answer that came without one, under an Idempotency-Key: of key and content, as apps number their
    posts in their own ways."""
    content = sha256(item.model_dump_json().encode()).hexdigest()
    return uuid5(NAMESPACE_OID, f"pawl.inference:{key}:{index}:{content}")


def span_id(trace: str, span: str) -> UUID:
    """The id of the answer that a span tells of; `trace` and `span` in hex."""
    return uuid5(NAMESPACE_OID, f"{trace.lower()}:{span.lower()}")


def told_time(identity: UUID | None) -> datetime | None:
    """When a UUIDv7 was made; None for ids of other kinds, which do not tell."""
    if identity is None or identity.version != 7:
        return None
    try:
        return datetime.fromtimestamp((identity.int >> 80) / 1000, UTC)
    except ValueError:  # 48 bits of milliseconds reach into the year 10889
        return datetime.max.replace(tzinfo=UTC)


def check_age(time: datetime, now: datetime) -> None:
    """Raises AgeError."""
    if time > now + MAX_AHEAD:
        raise AgeError(f"{time.isoformat()} is in the future; it is {now.isoformat()} here")
    if time < now - MAX_AGE:
        raise AgeError(f"{time.isoformat()} is more than {MAX_AGE.days} days ago: nobody could rate it any more")


def logged(item: ExternalInference, placed: Placed, source: str) -> InferenceLogged:
    """The event. Its id is derived, so that a repeat has the same."""
    return InferenceLogged(
        id=derived_id(placed.id, f"pawl.inference.logged:{item.choice}"),
        time=placed.time,
        source=source,
        inference_id=placed.id,
        choice=item.choice,
        model=model_id(item.model),
        session=placed.caller.session,
        subject=placed.caller.subject,
        messages=tuple(Message(role=_role(turn.role), content=turn.text) for turn in item.messages),
        answer=item.answer,
        finish_reason=_ENDINGS.get(item.finish_reason, "stop"),
        failed=item.finish_reason == "error",
        form="tools" if any(turn.tool_calls or _role(turn.role) == "tool" for turn in item.messages) else "chat",
        arm="external",
        version=version_of(item.provider, item.provider_model),
        revision=0,
        provider=item.provider,
        provider_model=item.provider_model,
        prompt_tokens=item.usage.prompt_tokens,
        answer_tokens=item.usage.completion_tokens,
        first_token_seconds=item.first_token_seconds or item.total_seconds,
        total_seconds=item.total_seconds,
        metadata={name: value for name, value in (item.metadata or {}).items() if name != "session_id"},
    )


def _role(role: str) -> Literal["system", "user", "assistant", "tool"]:
    """`developer` is what OpenAI calls `system` now, `function` what it once called `tool`."""
    match role:
        case "developer" | "system":
            return "system"
        case "function" | "tool":
            return "tool"
        case "assistant":
            return "assistant"
        case _:
            return "user"
