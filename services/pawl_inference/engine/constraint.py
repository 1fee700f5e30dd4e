"""How base models write the calls of tools, and what an answer may be made to look like. Plain data, and its text."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

# Without a bound, a small model that was told to call something never stops calling.
MAX_CALLS = 16
CALL_MARKS = ("<tool_call>", "</tool_call>")  # Hermes, Qwen, SmolLM2


@dataclass(frozen=True)
class CallFormat:
    """The shape in which a base model writes calls: JSON objects with `name` and `arguments` (the key's own name is
    `key`), each between `begin` and `end`, or as one list between them. Without marks the JSON stands alone.
    """

    begin: str = ""
    end: str = ""
    key: str = "arguments"
    as_list: bool = False

    @property
    def opening(self) -> str:
        """What stands before the JSON."""
        return self._line(self.begin, "", "\n")

    @property
    def closing(self) -> str:
        """What stands after it."""
        return self._line(self.end, "\n", "")

    @property
    def between(self) -> str:
        """What stands between two calls (of a list: between its objects)."""
        if self.as_list:
            return ", "
        return "\n" if self.begin else "; "

    def write(self, calls: Sequence[tuple[str, object]]) -> str:
        """Calls (name, arguments) as the model would have written them."""
        objects = [json.dumps({"name": name, self.key: given}, ensure_ascii=False) for name, given in calls]
        if self.as_list:
            return f"{self.opening}[{self.between.join(objects)}]{self.closing}"
        return self.between.join(f"{self.opening}{call}{self.closing}" for call in objects)

    def _line(self, mark: str, before: str, after: str) -> str:
        return mark if self.as_list or not mark else f"{before}{mark}{after}"


@dataclass(frozen=True)
class JsonSchema:
    """A JSON schema as canonical text. Where it is `strict`, each of its keywords holds or it is refused; else those
    that a grammar cannot express are left out."""

    text: str
    strict: bool

    @classmethod
    def of(cls, schema: object, *, strict: bool) -> "JsonSchema":
        """From a decoded schema; the order of its properties is kept, as answers follow it."""
        return cls(json.dumps(schema, ensure_ascii=False, separators=(",", ":")), strict)


@dataclass(frozen=True)
class Function:
    """A function that may be called."""

    name: str
    parameters: JsonSchema


@dataclass(frozen=True)
class Constraint:
    """What an answer must be: `answer` (any text, without one), or up to `max_calls` calls of `functions`, which stand
    in its place where `must_call`, and may stand there otherwise."""

    answer: JsonSchema | None = None
    functions: tuple[Function, ...] = ()
    must_call: bool = False
    max_calls: int = MAX_CALLS
