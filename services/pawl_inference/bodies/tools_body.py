"""The parts of a chat request that say what an answer must look like: tools, tool_choice and response_format."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StrictBool, TypeAdapter, model_validator

from pawl_inference.bodies.generation_body import Body, refusal
from pawl_inference.domain.fields import Text
from pawl_inference.engine.constraint import JsonSchema

MAX_TOOLS = 128
_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
# A schema is kept with its grammar and, of tools, logged with every answer.
MAX_SCHEMA = 65_536
MAX_DEPTH = 100  # the grammar library gives up at 128, Python at a thousand
FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


def _schema(value: dict[str, Any]) -> dict[str, Any]:
    if _depth(value) > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (ValueError, RecursionError) as error:  # also half a surrogate pair
        raise ValueError("it holds something that JSON cannot say") from error
    if size > MAX_SCHEMA:
        raise ValueError(f"it has {size} bytes, and at most {MAX_SCHEMA} are taken")
    return value


def _parameters(value: dict[str, Any]) -> dict[str, Any]:
    if value.setdefault("type", "object") != "object":
        raise ValueError("the arguments of a call are an object, so `type` must be 'object'")
    return value


def _depth(value: object) -> int:
    level, depth = [value], 0
    while level := [child for each in level for child in _children(each)]:
        depth += 1
    return depth


def _children(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


Schema = Annotated[dict[str, Any], AfterValidator(_schema)]


class _Exact(Body):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FunctionDefinition(_Exact):
    """A function that the model may call."""

    name: FunctionName
    description: Text | None = None
    parameters: Annotated[Schema, AfterValidator(_parameters)] | None = None
    strict: StrictBool | None = Field(default=None, description="calls follow `parameters` in every respect")

    @property
    def schema_of_arguments(self) -> JsonSchema:
        """No parameters: an empty object."""
        return JsonSchema.of(self.parameters or {"type": "object", "properties": {}}, strict=bool(self.strict))


class Tool(_Exact):
    type: Literal["function"]
    function: FunctionDefinition

    def offered(self) -> dict[str, Any]:
        """As chat templates take it."""
        function = self.function
        parameters = function.parameters or {"type": "object", "properties": {}}
        return {
            "type": "function",
            "function": {"name": function.name, "description": function.description or "", "parameters": parameters},
        }


class ChosenFunction(_Exact):
    name: FunctionName


class NamedTool(_Exact):
    type: Literal["function"]
    function: ChosenFunction


ToolChoice = Literal["none", "auto", "required"] | NamedTool


class FunctionCall(_Exact):
    """A call that the model made; `arguments` is JSON text."""

    name: FunctionName
    arguments: Text
    parsed_arguments: Any = Field(default=None, description="`arguments` as OpenAI's SDK read them; only those count")

    def decoded(self) -> dict[str, Any]:
        """The arguments. Raises ValueError when they are no JSON object."""
        try:
            return _OBJECT.validate_json(self.arguments)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


class ToolCall(_Exact):
    id: Annotated[Text, Field(min_length=1, max_length=256)]
    type: Literal["function"] = "function"
    function: FunctionCall
    index: int | None = Field(default=None, description="of a streamed call, as SDKs send it back; their order counts")


class NamedSchema(_Exact):
    name: FunctionName
    description: Text | None = Field(default=None, description="for people; the model sees the messages only")
    schema_: Schema = Field(alias="schema")
    strict: StrictBool | None = Field(
        default=None, description="true: the answer follows each keyword, or the request is refused; else what can be"
    )


class ResponseFormat(_Exact):
    """What the answer's text must be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = Field(default=None, description="of type json_schema")

    @model_validator(mode="after")
    def _schema_of_its_type(self) -> ResponseFormat:
        if (self.json_schema is not None) != (self.type == "json_schema"):
            raise refusal("response_format.json_schema", "type 'json_schema' needs it, and no other may have it")
        return self

    @property
    def schema_of_answer(self) -> JsonSchema | None:
        """None: any text."""
        if self.json_schema is not None:
            return JsonSchema.of(self.json_schema.schema_, strict=bool(self.json_schema.strict))
        return JsonSchema.of({"type": "object"}, strict=True) if self.type == "json_object" else None
