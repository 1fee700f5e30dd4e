"""The body of a chat completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt, model_validator

from pawl_inference.bodies.generation_body import Body, GenerationBody, refusal
from pawl_inference.bodies.tools_body import MAX_TOOLS, NamedTool, ResponseFormat, Tool, ToolCall, ToolChoice
from pawl_inference.domain import parameters
from pawl_inference.domain.fields import MAX_TOKENS, Text
from pawl_inference.domain.parameters import Rule
from pawl_inference.engine.constraint import MAX_CALLS, Constraint, Function

# A message takes some 150 bytes in the log, sealed and with its names: so many empty ones still fit into a record.
MAX_MESSAGES = 2_048


class TextPart(Body):
    """A part of a message; text is the only kind."""

    type: Literal["text"]
    text: Text


class ChatMessage(Body):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Annotated[list[TextPart], Field(fail_fast=True)] | None = None
    tool_calls: list[ToolCall] | None = Field(default=None, max_length=MAX_TOOLS, description="of an assistant's turn")
    tool_call_id: str | None = Field(default=None, max_length=256, description="of a tool's turn: the call it answers")
    name: str | None = Field(default=None, description="of a tool's turn: the function that was called")

    @property
    def text(self) -> str:
        """The content; parts are joined."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or ())


class ChatRequest(GenerationBody):
    """A conversation to go on. OpenAI's other parameters get a 400 that names them, unless they ask for nothing."""

    PARAMETERS: ClassVar[Mapping[str, Rule]] = parameters.CHAT
    PROMPT: ClassVar[str] = "messages"

    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    tools: list[Tool] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: StrictBool | None = None
    response_format: ResponseFormat | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    max_completion_tokens: Annotated[StrictInt, Field(ge=1, le=MAX_TOKENS)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ChatRequest:
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise refusal("max_completion_tokens", "max_tokens differs from it; send only one of them")
        if self.top_logprobs and not self.logprobs:
            raise refusal("top_logprobs", "it needs logprobs: true")
        return self

    @model_validator(mode="after")
    def _tools_fit(self) -> ChatRequest:
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise refusal("tools", "two functions have one name")
        wanted = self.tool_choice
        if wanted == "required" and not names:
            raise refusal("tool_choice", "there are no tools to choose from")
        if isinstance(wanted, NamedTool) and wanted.function.name not in names:
            raise refusal("tool_choice", f"no tool has the name '{wanted.function.name}'")
        return self

    @model_validator(mode="after")
    def _turns_fit(self) -> ChatRequest:
        called: dict[str | None, str] = {}
        for number, turn in enumerate(self.messages):
            if problem := _problem(turn, called):
                raise refusal(f"messages[{number}].{problem[0]}", problem[1])
            called |= {call.id: call.function.name for call in turn.tool_calls or ()}
        return self

    @property
    def offered(self) -> tuple[dict[str, Any], ...]:
        """The tools that the model is shown."""
        return () if self.tool_choice == "none" else tuple(tool.offered() for tool in self.tools or ())

    @property
    def constraint(self) -> Constraint | None:
        """See GenerationBody.constraint."""
        answer = self.response_format.schema_of_answer if self.response_format else None
        tools = self.tools if self.offered else None
        named = self.tool_choice.function.name if isinstance(self.tool_choice, NamedTool) else None
        must = named is not None or self.tool_choice == "required"
        bound = must or self.parallel_tool_calls is False or any(tool.function.strict for tool in tools or ())
        if not tools or not (bound or answer):
            return Constraint(answer) if answer else None
        functions = (tool.function for tool in tools if named in (None, tool.function.name))
        return Constraint(
            answer=None if must else answer,
            functions=tuple(Function(each.name, each.schema_of_arguments) for each in functions),
            must_call=must,
            max_calls=1 if named or self.parallel_tool_calls is False else MAX_CALLS,
        )

    @property
    def bound(self) -> str:
        """See GenerationBody.bound."""
        if self.constraint is None:
            return ""
        named = {"response_format", "tool_choice", "parallel_tool_calls"}
        return self.model_dump_json(include=named, exclude_none=True, by_alias=True)

    @property
    def limit(self) -> int | None:
        """See GenerationBody.limit."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def likeliest(self) -> int | None:
        """See GenerationBody.likeliest."""
        return (self.top_logprobs or 0) if self.logprobs else None


def _problem(turn: ChatMessage, called: Mapping[str | None, str]) -> tuple[str, str] | None:
    """What is wrong with a turn: its field and the reason. `called`: functions of the calls before it, by their ids."""
    if turn.tool_calls and turn.role != "assistant":
        return "tool_calls", "only turns of role 'assistant' have calls"
    if (turn.tool_call_id is not None) != (turn.role == "tool"):
        return "tool_call_id", "turns of role 'tool' need it, and no others may have it"
    if turn.role == "tool" and turn.tool_call_id not in called:
        return "tool_call_id", "no turn before it made this call"
    if turn.name is not None and turn.name != called[turn.tool_call_id]:
        return "name", "this call was of another function"
    if turn.content is None and not turn.tool_calls:
        return "content", "a turn without calls needs one"
    for number, call in enumerate(turn.tool_calls or ()):
        try:
            call.function.decoded()
        except ValueError:
            return f"tool_calls[{number}].function.arguments", "it must be the JSON text of an object"
    return None
