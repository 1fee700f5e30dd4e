"""What a model is asked, from request to tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pawl_inference.bodies.chat_body import ChatMessage
from pawl_inference.bodies.tools_body import ToolCall
from pawl_inference.domain import arm as experiment_arm
from pawl_inference.engine.constraint import CallFormat
from pawl_inference.engine.port import Engine
from pawl_shared.events import ExperimentArm, Message

# So many characters take 1 to 4 ms, less than a decode step; a thread takes 0.1 ms.
_AT_ONCE = 4_096


class EmptyPromptError(ValueError):
    """There is nothing that a model could go on with."""


@dataclass(frozen=True)
class Encoded:
    """A prompt under one base model. `prompt_version`: of the arm's system prompt; `turns` hold none of it."""

    turns: tuple[Message, ...]
    tokens: tuple[int, ...]
    prompt_version: str = ""
    form: Literal["chat", "text", "tools"] = "chat"


class Prompt(Protocol):
    """Asks for one answer, or for several different ones."""

    @property
    def size(self) -> int:
        """Characters or token ids in it, about."""
        ...

    def encoded(self, engine: Engine, arm: ExperimentArm | None) -> Encoded:
        """As the engine reads it, for a session of this experiment's arm.

        Raises:
            ChatTemplateError: the base model's chat template refuses it.
            ToolsUnsupportedError: it has no place for the tools, or for calls and results in the conversation.
            UnknownTokenError: it holds token ids that the model does not have.
            EmptyPromptError: no token comes of it.
        """
        ...


class ChatPrompt:
    """A conversation, and the tools that the model is shown."""

    def __init__(self, messages: Sequence[ChatMessage], tools: Sequence[Mapping[str, Any]] = ()) -> None:
        self._messages, self._tools = messages, tools
        self._names = {call.id: call.function.name for turn in messages for call in turn.tool_calls or ()}

    @property
    def size(self) -> int:
        """See `Prompt.size`."""
        calls = (call.function.arguments for turn in self._messages for call in turn.tool_calls or ())
        texts = (turn.text for turn in self._messages)
        return sum(map(len, (*texts, *calls, *map(str, self._tools))))

    def encoded(self, engine: Engine, arm: ExperimentArm | None) -> Encoded:
        """See `Prompt.encoded`."""
        turns = tuple(_turn(message, engine.info.calls or CallFormat()) for message in self._messages)
        tokens = self._tokens(engine, experiment_arm.conversation(arm, turns))
        form: Literal["chat", "tools"] = "tools" if self._tools or self._names else "chat"
        prompt_version = experiment_arm.prompt_version(arm)
        if prompt_version and len(tokens) >= engine.info.context_length:
            # The session stays in its arm: leaving it out would leave long conversations out of one arm alone.
            return Encoded(turns, self._tokens(engine, turns), form=form)
        return Encoded(turns, tokens, prompt_version, form)

    def _tokens(self, engine: Engine, turns: Sequence[Message]) -> tuple[int, ...]:
        """`turns`: of the request, perhaps with one more before them."""
        shown: list[dict[str, Any]] = [{"role": turn.role, "content": turn.content} for turn in turns]
        for message, turn in zip(self._messages, shown[len(turns) - len(self._messages) :], strict=True):
            if message.tool_calls:
                turn |= {"content": message.text, "tool_calls": [_shown(call) for call in message.tool_calls]}
            if message.tool_call_id is not None:
                turn |= {"tool_call_id": message.tool_call_id, "name": self._names[message.tool_call_id]}
        return engine.encode_chat(shown, self._tools or None)


class TextPrompt:
    """A text to go on with, as text or as token ids."""

    def __init__(self, given: str | Sequence[int]) -> None:
        self._given = given

    @property
    def size(self) -> int:
        """See `Prompt.size`."""
        return len(self._given)

    def encoded(self, engine: Engine, arm: ExperimentArm | None) -> Encoded:
        """See `Prompt.encoded`. An arm's system prompt has no place in it: the session stays in its arm without."""
        if isinstance(self._given, str):
            text, tokens = self._given, engine.encode(self._given)
        else:
            text, tokens = engine.decode(self._given), tuple(self._given)
        if not tokens:
            raise EmptyPromptError("the prompt is empty; send a text to go on with")
        return Encoded((Message(role="user", content=text),), tokens, form="text")


async def all_encoded(prompts: Sequence[Prompt], engine: Engine, arm: ExperimentArm | None) -> tuple[Encoded, ...]:
    """Each of them, see `Prompt.encoded`; long ones on a thread, as no other answer goes on meanwhile in the loop."""

    def encoded() -> tuple[Encoded, ...]:
        return tuple(prompt.encoded(engine, arm) for prompt in prompts)

    if sum(prompt.size for prompt in prompts) <= _AT_ONCE:
        return encoded()
    return await asyncio.to_thread(encoded)


def _turn(message: ChatMessage, form: CallFormat) -> Message:
    """As it is logged: calls are written out as the model writes them, so that they are sealed and scrubbed as text."""
    calls = [(call.function.name, call.function.decoded()) for call in message.tool_calls or ()]
    parts = (message.text, form.write(calls) if calls else "")
    # `developer` is what OpenAI calls `system` now; chat templates know the older name.
    role: Literal["system", "user", "assistant", "tool"] = "system" if message.role == "developer" else message.role
    return Message(role=role, content="\n".join(part for part in parts if part))


def _shown(call: ToolCall) -> dict[str, Any]:
    """As chat templates take it: the arguments as an object."""
    function = {"name": call.function.name, "arguments": call.function.decoded()}
    return {"id": call.id, "type": "function", "function": function}
