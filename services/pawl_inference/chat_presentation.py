"""Answers as chat completions: one body, or chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pawl_inference import presentation
from pawl_inference.answering import Answer
from pawl_inference.choice import Choice
from pawl_inference.presentation import Event


async def whole(answer: Answer) -> Event:
    """The body of a plain answer. Raises ApiError."""
    async with aclosing(answer.chunks()) as chunks:
        async for _ in chunks:
            pass
    return presentation.frame(answer, "chat.completion") | {
        "choices": [_whole(choice) for choice in answer.choices],
        "usage": presentation.usage(answer),
        "metadata": presentation.metadata(answer),
    }


async def stream(answer: Answer) -> AsyncGenerator[Event, None]:
    """The chunks of a streamed answer; those of several choices come as they are made. Raises ApiError."""
    frame = presentation.frame(answer, "chat.completion.chunk")
    if answer.request.wants_usage:
        frame["usage"] = None
    for choice in answer.choices:
        yield frame | {"choices": [_piece(choice, {"role": "assistant", "content": ""})]}
    async with aclosing(answer.chunks()) as chunks:
        async for choice, chunk in chunks:
            if chunk.text:
                yield frame | {"choices": [_piece(choice, {"content": chunk.text})]}
            if chunk.finish_reason:
                own = presentation.last_metadata(answer, choice)
                yield frame | {"choices": [_piece(choice, {}, presentation.finish_reason(choice))], "metadata": own}
    if answer.request.wants_usage:
        totals = {"usage": presentation.usage(answer), "metadata": presentation.metadata(answer)}
        yield frame | {"choices": [], **totals}


def _whole(choice: Choice) -> dict[str, Any]:
    return {
        "index": choice.index,
        "message": {"role": "assistant", "content": "".join(choice.text), "refusal": None},
        "logprobs": None,
        "finish_reason": presentation.finish_reason(choice),
    }


def _piece(choice: Choice, delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": choice.index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
