"""Which fields of an OpenAI chat request are honoured. Nothing is silently ignored: a field that would have to be is
refused, unless its value asks for what happens anyway."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

HONOURED = frozenset(
    {
        "messages",
        "model",
        "temperature",
        "top_p",
        "seed",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "stream",
        "stream_options",
        "user",
        "metadata",
        "conversation",
    }
)


def _one_of(*values: object) -> Callable[[Any], bool]:
    # By type too: False == 0 and True == 1 in Python.
    return lambda given: any(given == value and isinstance(given, bool) == isinstance(value, bool) for value in values)


# What asks for nothing that would not happen anyway. null is harmless in every field.
HARMLESS: Mapping[str, Callable[[Any], bool]] = {
    "frequency_penalty": _one_of(0),
    "presence_penalty": _one_of(0),
    "logit_bias": _one_of({}),
    "logprobs": _one_of(False),
    "top_logprobs": _one_of(0),
    "modalities": _one_of(["text"]),
    "tools": _one_of([]),
    "tool_choice": _one_of("none", "auto"),
    "parallel_tool_calls": _one_of(True, False),
    "functions": _one_of([]),
    "function_call": _one_of("none", "auto"),
    "response_format": _one_of({"type": "text"}),
    "service_tier": _one_of("auto", "default"),
    "store": _one_of(False),
    "verbosity": _one_of("medium"),
    "reasoning_effort": _one_of("none"),
}

MESSAGE_HONOURED = frozenset({"role", "content"})


def refused(body: Mapping[str, Any]) -> str | None:
    """The first field that cannot be honoured, as a path (`messages[1].tool_calls`), or None."""
    for name, value in body.items():
        if name not in HONOURED and not _harmless(name, value):
            return name
    messages = body.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        for name, value in message.items() if isinstance(message, dict) else ():
            # SDKs send an answer's own message back with its empty fields.
            if name not in MESSAGE_HONOURED and value is not None and value != []:
                return f"messages[{index}].{name}"
    options = body.get("stream_options")
    for name, value in options.items() if isinstance(options, dict) else ():
        if name != "include_usage" and value not in (None, False):
            return f"stream_options.{name}"
    return None


def _harmless(name: str, value: object) -> bool:
    return value is None or (name in HARMLESS and HARMLESS[name](value))
