"""What an experiment's arm changes of a request. What the request itself names holds in every arm."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from pawl_shared.events import ExperimentArm, Message, Sampling


def sampling(arm: ExperimentArm | None, asked: Sampling, temperature: float | None, top_p: float | None) -> Sampling:
    """How the answer is drawn. `asked`: as without an experiment; the others: what the request names, if anything."""
    if arm is None:
        return asked
    changes: dict[str, float | int | None] = {}
    if temperature is None and arm.temperature is not None:
        changes["temperature"] = arm.temperature
    if top_p is None and arm.top_p is not None:
        changes["top_p"] = arm.top_p
    if asked.max_tokens is None and arm.max_tokens is not None:
        changes["max_tokens"] = arm.max_tokens
    return asked.model_copy(update=changes)


def conversation(arm: ExperimentArm | None, turns: Sequence[Message]) -> Sequence[Message]:
    """With the arm's system prompt before it. Joined to the app's own, where that comes first: many chat templates
    know one system message only."""
    if arm is None or arm.system is None:
        return turns
    if turns and turns[0].role == "system":
        first = turns[0].model_copy(update={"content": f"{arm.system}\n\n{turns[0].content}"})
        return (first, *turns[1:])
    return (Message(role="system", content=arm.system), *turns)


def prompt_version(arm: ExperimentArm | None) -> str:
    """Digest of the arm's system prompt; empty: it has none."""
    return "" if arm is None or arm.system is None else sha256(arm.system.encode()).hexdigest()
