"""Every parameter of OpenAI's chat and text completions, and what becomes of it here.

Nothing is silently ignored: what would have to be is refused by name, unless its value asks for what happens anyway.
Whoever adds a parameter to OpenAI's API adds a line here; a test compares the tables with OpenAI's own SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Rule:
    """A parameter is honoured, or refused but for values that ask for nothing. null is harmless in every one."""

    honoured: bool = False
    harmless: tuple[object, ...] = ()
    any_text: bool = False  # a hint on which no answer depends
    instead: str = ""  # what took its place in OpenAI's API

    def allows(self, value: object) -> bool:
        """Whether the value can be taken."""
        if self.honoured or value is None or (self.any_text and isinstance(value, str)):
            return True
        return any(_same(value, each) for each in self.harmless)


HONOURED, REFUSED = Rule(honoured=True), Rule()

# What both kinds of completions take. top_k, min_p and repetition_penalty are named as in vLLM; metadata, conversation
# and safety_identifier belong to OpenAI's chat and responses, and fix session and user of a text completion as well.
_BOTH: Mapping[str, Rule] = {
    **dict.fromkeys(("model", "n", "max_tokens", "stop", "stream", "stream_options", "seed", "logprobs"), HONOURED),
    **dict.fromkeys(("temperature", "top_p", "top_k", "min_p"), HONOURED),
    **dict.fromkeys(("presence_penalty", "frequency_penalty", "repetition_penalty"), HONOURED),
    **dict.fromkeys(("user", "safety_identifier", "metadata", "conversation", "logit_bias"), HONOURED),
}

CHAT: Mapping[str, Rule] = {
    **_BOTH,
    "messages": HONOURED,
    "max_completion_tokens": HONOURED,
    "top_logprobs": HONOURED,
    "modalities": Rule(harmless=(["text"],)),
    **dict.fromkeys(("tools", "tool_choice", "parallel_tool_calls", "response_format"), HONOURED),
    "functions": Rule(harmless=([],), instead="tools"),
    "function_call": Rule(harmless=("none", "auto"), instead="tool_choice"),
    "service_tier": Rule(harmless=("auto", "default")),
    "store": Rule(harmless=(False,)),
    "verbosity": Rule(harmless=("medium",)),
    "reasoning_effort": Rule(harmless=("none",)),
    "prompt_cache_key": Rule(any_text=True),
    "prompt_cache_retention": Rule(harmless=("in_memory",)),
    "prompt_cache_options": Rule(harmless=({}, {"mode": "implicit"})),
    "audio": REFUSED,
    "moderation": REFUSED,
    "prediction": REFUSED,
    "web_search_options": REFUSED,
}

TEXT: Mapping[str, Rule] = {
    **_BOTH,
    "prompt": HONOURED,
    "echo": HONOURED,
    "best_of": HONOURED,
    "suffix": Rule(harmless=("",)),
}

STREAM_OPTIONS: Mapping[str, Rule] = {
    "include_usage": HONOURED,
    "include_obfuscation": Rule(harmless=(False,)),
}

# SDKs send an answer's own message back with its empty fields.
MESSAGE: Mapping[str, Rule] = {
    "role": HONOURED,
    "content": HONOURED,
    "tool_calls": HONOURED,
    "tool_call_id": HONOURED,
    "parsed": HONOURED,  # `content` as OpenAI's SDK read it
    "function_call": Rule(instead="tool_calls"),
    "annotations": Rule(harmless=([],)),
    **dict.fromkeys(("name", "refusal", "audio"), REFUSED),
}

# A result may name the function that was called, which templates are told anyway.
TOOL_MESSAGE: Mapping[str, Rule] = {**MESSAGE, "name": HONOURED}

TEXT_PART: Mapping[str, Rule] = {"type": HONOURED, "text": HONOURED, "prompt_cache_breakpoint": REFUSED}


@dataclass(frozen=True)
class Refusal:
    """Why a request is not taken: `param` as a path (`messages[1].tool_calls`), in OpenAI's words for it."""

    param: str
    code: Literal["unsupported_parameter", "unknown_parameter"]
    message: str


def refused(body: Mapping[str, Any], table: Mapping[str, Rule]) -> Refusal | None:
    """The first parameter that cannot be honoured, or None."""
    return (
        _first(body, table, "")
        or _first(body.get("stream_options"), STREAM_OPTIONS, "stream_options.")
        or _in_messages(body.get("messages"))
    )


def _in_messages(messages: object) -> Refusal | None:
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if not isinstance(message, dict):
            continue
        table = TOOL_MESSAGE if message.get("role") == "tool" else MESSAGE
        if found := _first(message, table, f"messages[{index}]."):
            return found
        parts = message.get("content")
        for number, part in enumerate(parts if isinstance(parts, list) else ()):
            if found := _in_part(part, f"messages[{index}].content[{number}]."):
                return found
    return None


def _in_part(part: object, prefix: str) -> Refusal | None:
    """A part that is no text is named by its kind, as that is what the app has to leave out."""
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind not in ("text", ""):
        text = f"Unsupported content: '{_quoted(kind)}' parts cannot be read by this server; send text parts only."
        return Refusal(f"{prefix}type", "unsupported_parameter", text)
    return _first(part, TEXT_PART, prefix)


def _first(given: object, table: Mapping[str, Rule], prefix: str) -> Refusal | None:
    for name, value in given.items() if isinstance(given, dict) else ():
        rule, param = table.get(name), _quoted(f"{prefix}{name}")
        if rule is None and value is not None:
            return Refusal(param, "unknown_parameter", f"Unknown parameter: '{param}'.")
        if rule is not None and not rule.allows(value):
            advice = f"use '{rule.instead}'" if rule.instead else "leave it out"
            text = f"Unsupported parameter: '{param}' is not supported with this value by this server; {advice}."
            return Refusal(param, "unsupported_parameter", text)
    return None


def _quoted(text: str) -> str:
    """JSON can write half a surrogate pair, which UTF-8 cannot."""
    return text[:200].encode("utf-8", "replace").decode()


def _same(given: object, harmless: object) -> bool:
    """By type too: False == 0 and True == 1 in Python."""
    return given == harmless and isinstance(given, bool) == isinstance(harmless, bool)
