"""What a chat template does with tools, found out by rendering with and without them: many templates take them without
a word and show the model nothing."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pawl_inference.engine.constraint import CALL_MARKS, CallFormat
from pawl_inference.engine.port import ChatTemplateError, ToolsUnsupportedError

Messages = Sequence[Mapping[str, Any]]
Fill = Callable[[Messages, Sequence[Mapping[str, Any]] | None], str]

_NAME, _RESULT = "probe_function", "probe result"
_PARAMETER, _ARGUMENT = "probe_parameter", "probe_argument"
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "A probe.",
        "parameters": {
            "type": "object",
            "properties": {_PARAMETER: {"type": "string", "description": "A probe."}},
            "required": [_PARAMETER],
        },
    },
}
_CALL = {"id": "probe0001", "type": "function", "function": {"name": _NAME, "arguments": {_ARGUMENT: "1"}}}
_QUESTION = {"role": "user", "content": "A probe."}
_CALLING = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
_ANSWER = {"role": "tool", "name": _NAME, "tool_call_id": "probe0001", "content": _RESULT}
# Marks of JSON that stand in special tokens, which answers do not show.
_HIDDEN = ("[TOOL_CALLS]", "<|tool_call")
_SHOWN = re.compile(rf'"name"\s*:\s*"{_NAME}"\s*,\s*"(\w+)"\s*:\s*\{{\s*"{_ARGUMENT}"')


@dataclass(frozen=True)
class ToolPlace:
    """What a template has a place for. Without `calls`, `reason` says why tools cannot be offered."""

    calls: CallFormat | None = None
    reason: str = ""
    shows_calls: bool = False
    shows_results: bool = False

    def fit(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """A message as the template can show it: its calls as text, where it knows no others.

        Raises:
            ToolsUnsupportedError: the message would be lost.
        """
        if message["role"] == "tool" and not self.shows_results:
            raise ToolsUnsupportedError("this base model's chat template has no place for messages of role `tool`")
        if not message.get("tool_calls") or self.shows_calls:
            return message
        if self.calls is None:
            raise ToolsUnsupportedError("this base model's chat template has no place for calls of tools")
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message["tool_calls"]]
        parts = (message.get("content"), self.calls.write(calls))
        others = {name: value for name, value in message.items() if name != "tool_calls"}
        return others | {"content": "\n".join(part for part in parts if part)}


def probe(source: str, fill: Fill) -> ToolPlace:
    """Try a template. `source` is its text, `fill` renders messages and tools, or raises ChatTemplateError."""
    called = _try(fill, [_QUESTION, _CALLING, _ANSWER], None) or _try(fill, [_QUESTION, _CALLING], None)
    shows_calls, shows_results = _ARGUMENT in called, _RESULT in called
    if _NAME not in _try(fill, [_QUESTION], [_TOOL]):
        reason = "this base model's chat template has no place for tools; send the request without"
        return ToolPlace(None, reason, shows_calls, shows_results)
    form = _format(source, called if shows_calls else None)
    reason = "" if form else "this base model writes calls of tools in a format that cannot be read yet"
    return ToolPlace(form, reason, shows_calls, shows_results)


def _format(source: str, called: str | None) -> CallFormat | None:
    """How calls are written: as the template shows them, or tells the model to (SmolLM2: only that)."""
    if any(mark in source for mark in _HIDDEN):
        return None
    shown = _SHOWN.search(called) if called else None
    if shown is None and (called or CALL_MARKS[0] not in source):
        return None  # as XML (GLM, Qwen3-Coder), as Python (LFM2), in channels (gpt-oss)
    key = shown[1] if shown else "arguments"
    if CALL_MARKS[0] not in source:
        return CallFormat(key=key)
    return CallFormat(*CALL_MARKS, key, as_list=re.search(rf"{CALL_MARKS[0]}\s*\[", source) is not None)


def _try(fill: Fill, messages: Messages, tools: Sequence[Mapping[str, Any]] | None) -> str:
    try:
        return fill(messages, tools)
    except ChatTemplateError:
        return ""
