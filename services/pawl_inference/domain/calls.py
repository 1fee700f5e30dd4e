"""Calls of tools in what a model writes: told from text while it comes, in the base model's own format. Pure.

Formats are those of vLLM's parsers hermes, llama3_json and of SmolLM2. What is no whole call of an offered function
stays text, and nothing is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pawl_inference.engine.constraint import CallFormat

_KEYS = frozenset({"name", "arguments", "parameters"})
_BETWEEN = re.compile(r"[\s;]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Call:
    """A call of an offered function; `arguments` is the JSON text of an object."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Read:
    """What became certain: text to show, and calls after it."""

    text: str = ""
    calls: tuple[Call, ...] = ()


class CallReader:
    """Reads one answer. `names`: the functions that were offered."""

    def __init__(self, form: CallFormat, names: Iterable[str]) -> None:
        self._form, self._names = form, frozenset(names)
        self._held = ""
        self._bare = not form.begin
        self._called = False

    def push(self, text: str) -> Read:
        """The next piece of the answer. Text is held while it could still belong to a call, and so are blanks."""
        self._held += text
        if self._bare:
            return self._push_bare()
        shown, calls = "", list[Call]()
        while True:
            before, mark, after = self._held.partition(self._form.begin)
            if not mark:
                return Read(shown + self._release(), tuple(calls))
            found = self._first_call(after)
            if found is None:
                # Not whole yet. What stands before it is certain.
                shown += before.rstrip()
                self._held = before[len(before.rstrip()) :] + mark + after
                return Read(shown, tuple(calls))
            made, self._held = found
            self._called = True
            shown += before.rstrip()
            calls += made

    def finish(self) -> Read:
        """The rest, when the answer has ended: what is no whole call is text."""
        held, self._held = self._held, ""
        if self._bare:
            made = _parse(held, self._names)
            return Read(calls=tuple(made)) if made else Read(held)
        shown, calls = "", list[Call]()
        while True:
            before, mark, after = held.partition(self._form.begin)
            if not mark:
                return Read(shown + (held if held.strip() or not (calls or self._called) else ""), tuple(calls))
            found = self._first_call(after)
            if found is None:
                shown, held = shown + before + mark, after
            else:
                made, held = found
                shown += before.rstrip()
                calls += made

    def _push_bare(self) -> Read:
        """Without marks the whole answer is calls or none; its first character tells."""
        start = self._held.lstrip()[:1]
        if not start or start in "{[":
            return Read()
        shown, self._held = self._held, ""
        return Read(shown)

    def _first_call(self, text: str) -> tuple[list[Call], str] | None:
        """The calls up to an end mark and what follows. The mark may stand in an argument as well."""
        at = text.find(self._form.end)
        while at >= 0:
            if made := _parse(text[:at], self._names):
                return made, text[at + len(self._form.end) :]
            at = text.find(self._form.end, at + 1)
        return None

    def _release(self) -> str:
        """Text that no call can begin in: all but blanks at its end, and the beginning of a mark."""
        certain, begin = self._held, self._form.begin
        for length in range(min(len(begin) - 1, len(certain)), 0, -1):
            if certain.endswith(begin[:length]):
                certain = certain[:-length]
                break
        certain = certain.rstrip()
        self._held = self._held[len(certain) :]
        return certain


def _parse(text: str, names: frozenset[str]) -> list[Call]:
    """The calls that a text consists of: objects, or a list of them. Empty: it is something else."""
    found: list[Any] = []
    at = _skip(text, 0)
    try:
        while at < len(text):
            value, at = _DECODER.raw_decode(text, at)
            found += value if isinstance(value, list) else [value]
            at = _skip(text, at)
        calls = [_call(value, names) for value in found]
    except (ValueError, RecursionError):
        return []
    return [call for call in calls if call] if all(calls) else []


def _skip(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return found.end() if found else at


def _call(value: object, names: frozenset[str]) -> Call | None:
    """Raises ValueError where JSON cannot say it (infinity)."""
    if not isinstance(value, dict) or not value.keys() <= _KEYS or not isinstance(value.get("name"), str):
        return None
    given = value.get("arguments", value.get("parameters", {}))
    if isinstance(given, str):
        given = json.loads(given)  # some models write the arguments as OpenAI's API does, as a string
    if value["name"] not in names or not isinstance(given, dict):
        return None
    return Call(value["name"], _written(given))


def _written(arguments: dict[str, Any]) -> str:
    text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can escape and no text can hold
        return json.dumps(arguments, allow_nan=False)
    return text
