"""What a model is asked, from request to tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pawl_inference.chat_body import ChatMessage
from pawl_inference.domain import arm as experiment_arm
from pawl_inference.engine.port import Engine
from pawl_shared.events import ExperimentArm, Message


class EmptyPromptError(ValueError):
    """There is nothing that a model could go on with."""


@dataclass(frozen=True)
class Encoded:
    """A prompt under one base model. `prompt_version`: of the arm's system prompt; `turns` hold none of it."""

    turns: tuple[Message, ...]
    tokens: tuple[int, ...]
    prompt_version: str = ""
    form: Literal["chat", "text"] = "chat"


class Prompt(Protocol):
    """Asks for one answer, or for several different ones."""

    def encoded(self, engine: Engine, arm: ExperimentArm | None) -> Encoded:
        """As the engine reads it, for a session of this experiment's arm.

        Raises:
            ChatTemplateError: the base model's chat template refuses it.
            UnknownTokenError: it holds token ids that the model does not have.
            EmptyPromptError: no token comes of it.
        """
        ...


class ChatPrompt:
    """A conversation."""

    def __init__(self, messages: Sequence[ChatMessage]) -> None:
        # `developer` is what OpenAI calls `system` now; chat templates know the older name.
        self._turns = tuple(
            Message(role="system" if turn.role == "developer" else turn.role, content=turn.text) for turn in messages
        )

    def encoded(self, engine: Engine, arm: ExperimentArm | None) -> Encoded:
        """See `Prompt.encoded`."""
        tokens = _tokens(engine, experiment_arm.conversation(arm, self._turns))
        prompt_version = experiment_arm.prompt_version(arm)
        if prompt_version and len(tokens) >= engine.info.context_length:
            # The session stays in its arm: leaving it out would leave long conversations out of one arm alone.
            return Encoded(self._turns, _tokens(engine, self._turns))
        return Encoded(self._turns, tokens, prompt_version)


class TextPrompt:
    """A text to go on with, as text or as token ids."""

    def __init__(self, given: str | Sequence[int]) -> None:
        self._given = given

    def encoded(self, engine: Engine, arm: ExperimentArm | None) -> Encoded:
        """See `Prompt.encoded`. An arm's system prompt has no place in it: the session stays in its arm without."""
        if isinstance(self._given, str):
            text, tokens = self._given, engine.encode(self._given)
        else:
            text, tokens = engine.decode(self._given), tuple(self._given)
        if not tokens:
            raise EmptyPromptError("the prompt is empty; send a text to go on with")
        return Encoded((Message(role="user", content=text),), tokens, form="text")


def _tokens(engine: Engine, turns: Sequence[Message]) -> tuple[int, ...]:
    return engine.encode_chat([{"role": turn.role, "content": turn.content} for turn in turns])
