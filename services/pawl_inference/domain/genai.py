"""Spans by OpenTelemetry's semantic conventions for generative AI, read as answers that were made elsewhere.

Content stands, by the version of the conventions and the instrumentation, in `gen_ai.input.messages` and
`gen_ai.output.messages` (structured, or JSON as a string), in span events `gen_ai.content.prompt` and
`gen_ai.content.completion`, in one event a message (`gen_ai.user.message`, …, `gen_ai.choice`), or in numbered
attributes (`gen_ai.prompt.0.content`). Source: opentelemetry.io/docs/specs/semconv/gen-ai, versions 1.27 to 1.41.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from pawl_inference.domain.external import ExternalInference, span_id

CHATS = frozenset({"chat", "generate_content", "text_completion", "completion"})
_ROLES = {"developer": "system", "model": "assistant", "ai": "assistant", "human": "user", "function": "tool"}
_KNOWN = frozenset({"system", "user", "assistant", "tool"})
_FINISH = {"stop": "stop", "end_turn": "stop", "length": "length", "max_tokens": "length", "error": "error"}
NO_CONTENT = (
    "a chat span holds no messages; let the instrumentation capture content "
    "(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT)"
)


class SpanError(ValueError):
    """A chat span that cannot be logged."""


@dataclass(frozen=True)
class Span:
    """A span as plain values. `resource`: attributes of who sent it; `events`: names and attributes."""

    trace: str
    span: str
    start: datetime
    end: datetime
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any] = field(default_factory=dict)
    events: Sequence[tuple[str, Mapping[str, Any]]] = ()
    failed: bool = False

    def first(self, *names: str) -> Any:
        """The first of these attributes that says anything."""
        return next((self.attributes[name] for name in names if self.attributes.get(name) not in (None, "")), None)


def answers_of(span: Span) -> list[ExternalInference]:
    """One for each choice; none: the span tells of no chat, of calls of tools alone, or of an answer by Pawl itself,
    which has it already.

    Raises SpanError.
    """
    if not is_chat(span) or _is_ours(span):
        return []
    if not (int(span.trace or "0", 16) and int(span.span or "0", 16)):
        raise SpanError("a chat span has no ids: others without them would be taken for repeats of it")
    try:
        asked, answered = _content(span)
    except RecursionError as error:
        raise SpanError("a chat span is nested too deeply") from error
    if not asked or not (answered or span.failed):
        raise SpanError(NO_CONTENT)
    outputs = list(enumerate(answered)) or [(0, {"role": "assistant", "content": "", "finish_reason": "error"})]
    said = [(choice, turn) for choice, turn in outputs if turn["content"] or turn.get("finish_reason") == "error"]
    try:
        return [_answer(span, asked, choice, turn) for choice, turn in said]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SpanError(f"{where}: {first['msg']}") from error


def is_chat(span: Span) -> bool:
    """Whether a span tells of a question to a language model."""
    operation = span.first("gen_ai.operation.name", "llm.request.type")
    return str(operation).lower() in CHATS


def _is_ours(span: Span) -> bool:
    """Pawl's answers have a UUIDv7 for an id; no provider's have."""
    try:
        return UUID(str(span.first("gen_ai.response.id"))).version == 7
    except ValueError:
        return False


def _answer(span: Span, asked: list[dict[str, str]], choice: int, turn: Mapping[str, str]) -> ExternalInference:
    requested, answering = span.first("gen_ai.request.model"), span.first("gen_ai.response.model")
    # A provider's name may hold a slash, where Pawl's have the tenant.
    model = span.first("pawl.model") or span.resource.get("pawl.model") or str(requested or "").replace("/", "-")
    reasons = span.first("gen_ai.response.finish_reasons")
    reason = turn.get("finish_reason") or (reasons[choice] if _has(reasons, choice) else "stop")
    session = span.first("gen_ai.conversation.id", "session.id")
    user = span.first("user.id", "enduser.id")
    return ExternalInference.model_validate(
        {
            "id": span_id(span.trace, span.span),
            "choice": choice,
            "model": str(model),
            "messages": asked,
            "answer": turn["content"],
            "provider": str(span.first("gen_ai.provider.name", "gen_ai.system") or "")[:100],
            "provider_model": str(answering or requested or "")[:256],
            "user": None if user is None else str(user),
            "session": None if session is None else str(session),
            "metadata": {"service": str(span.resource.get("service.name", ""))[:512]},
            "time": span.start,
            "finish_reason": _FINISH.get(str(reason).lower(), "stop"),
            "usage": {
                "prompt_tokens": _count(span.first("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")),
                "completion_tokens": _count(span.first("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")),
            },
            "total_seconds": min(max(0.0, (span.end - span.start).total_seconds()), 86_400.0),
        }
    )


def _content(span: Span) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The conversation, and the answers to it."""
    instructions = _decoded(span.first("gen_ai.system_instructions"))
    system = [{"role": "system", "content": _text(instructions)}] if instructions else []
    asked = _turns(span.first("gen_ai.input.messages"))
    answered = _turns(span.first("gen_ai.output.messages"))
    for name, values in span.events:
        if name == "gen_ai.content.prompt":
            asked += _turns(values.get("gen_ai.prompt"))
        elif name == "gen_ai.content.completion":
            answered += _turns(values.get("gen_ai.completion"))
        elif name == "gen_ai.choice":
            answered += [_turn(_of_choice(values))]
        elif name.startswith("gen_ai.") and name.endswith(".message"):
            asked.append(_turn({"role": name.split(".")[1], **values}))
        elif name == "gen_ai.client.inference.operation.details":
            asked += _turns(values.get("gen_ai.input.messages"))
            answered += _turns(values.get("gen_ai.output.messages"))
    asked = asked or _numbered(span.attributes, "gen_ai.prompt")
    answered = answered or _numbered(span.attributes, "gen_ai.completion")
    return system + asked, answered


def _of_choice(values: Mapping[str, Any]) -> dict[str, Any]:
    """The message of a choice stands in it as a part, or as JSON."""
    message = _decoded(values.get("message"))
    return {"role": "assistant", **values, **(message if isinstance(message, dict) else {})}


def _turns(value: Any) -> list[dict[str, str]]:
    found = _decoded(value)
    if isinstance(found, str):
        return [{"role": "user", "content": found}]
    if isinstance(found, dict):
        found = [found]
    return [_turn(each) for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _turn(value: Mapping[str, Any]) -> dict[str, str]:
    role = str(value.get("role", "user")).lower()
    role = _ROLES.get(role, role)
    turn = {"role": role if role in _KNOWN else "user", "content": _text(value.get("parts", value.get("content")))}
    if value.get("finish_reason"):
        turn["finish_reason"] = str(value["finish_reason"])
    return turn


def _text(value: Any) -> str:
    """Text as it is. What else a turn has (calls of tools and what they gave) is kept as JSON behind it, and images and
    the like by their kind alone; what a model thought to itself is no part of what it said."""
    value = _decoded(value)
    if value is None or isinstance(value, str):
        return value or ""
    parts = value if isinstance(value, list) else [value]
    return "\n".join(filter(None, (_part(part) for part in parts)))


def _part(part: Any) -> str:
    if not isinstance(part, dict):
        return str(part)
    kind = part.get("type", "text")
    if kind == "text":
        return str(part.get("content", part.get("text", "")))
    if kind in ("reasoning", "thinking"):
        return ""
    if kind == "tool_call_response":
        return str(part.get("response", part.get("result", "")))
    return json.dumps(part, sort_keys=True, default=str) if kind == "tool_call" else f"[{kind}]"


def _numbered(attributes: Mapping[str, Any], prefix: str) -> list[dict[str, str]]:
    """`gen_ai.prompt.0.role`, `gen_ai.prompt.0.content` and so on."""
    turns: dict[int, dict[str, Any]] = {}
    for name, value in attributes.items():
        number, _, key = name.removeprefix(f"{prefix}.").partition(".")
        if name.startswith(f"{prefix}.") and number.isdecimal() and len(number) < 6:
            turns.setdefault(int(number), {})[key] = value
    return [_turn(turn) for _, turn in sorted(turns.items())]


def _decoded(value: Any) -> Any:
    """Attributes of spans hold JSON as a string where an exporter knows no structure."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _has(values: Any, index: int) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and index < len(values)


def _count(value: Any) -> int:
    return min(max(0, value), 2**31 - 1) if isinstance(value, int) else 0


def told(reasons: Iterable[str], most: int = 3) -> str:
    """A few different reasons in one sentence."""
    different = list(dict.fromkeys(reasons))
    return "; ".join(different[:most]) + ("; …" if len(different) > most else "")
