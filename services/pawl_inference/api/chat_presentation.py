"""Answers as chat completions: one body, or chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from pawl_inference.api import presentation
from pawl_inference.api.presentation import Event
from pawl_inference.engine.port import TokenLogprob
from pawl_inference.handlers.answering import Answer
from pawl_inference.handlers.choice import Choice, MadeCall


async def whole(answer: Answer) -> Event:
    """The body of a plain answer. Raises ApiError."""
    async with aclosing(answer.chunks()) as chunks:
        async for _ in chunks:
            pass
    return presentation.frame(answer, "chat.completion") | {
        "choices": [_whole(answer, choice) for choice in answer.choices],
        "usage": presentation.usage(answer),
        "metadata": presentation.metadata(answer),
    }


async def stream(answer: Answer) -> AsyncGenerator[Event, None]:
    """The chunks of a streamed answer; those of several choices come as they are made. Raises ApiError."""
    frame = presentation.frame(answer, "chat.completion.chunk")
    if answer.request.wants_usage:
        frame["usage"] = None
    begun = set[int]()
    async with aclosing(answer.chunks()) as chunks:
        async for choice, chunk in chunks:
            if choice.index not in begun:
                begun.add(choice.index)
                yield frame | {"choices": [_piece(choice, {"role": "assistant", "content": ""})]}
            if chunk.calls:
                yield frame | {"choices": [_piece(choice, {"tool_calls": [_streamed(call) for call in chunk.calls]})]}
            if chunk.text or chunk.logprobs:
                told = _logprobs(answer, chunk.logprobs)
                yield frame | {"choices": [_piece(choice, {"content": chunk.text}, logprobs=told)]}
            if chunk.finish_reason:
                own = presentation.last_metadata(answer, choice)
                yield frame | {"choices": [_piece(choice, {}, presentation.finish_reason(choice))], "metadata": own}
    if answer.request.wants_usage:
        totals = {"usage": presentation.usage(answer), "metadata": presentation.metadata(answer)}
        yield frame | {"choices": [], **totals}


def _whole(answer: Answer, choice: Choice) -> Event:
    return {
        "index": choice.index,
        "message": _message(choice),
        "logprobs": _logprobs(answer, choice.logprobs),
        "finish_reason": presentation.finish_reason(choice),
    }


def _message(choice: Choice) -> Event:
    content = "".join(choice.content)
    message = {"role": "assistant", "content": content or None if choice.calls else content, "refusal": None}
    return message | {"tool_calls": [_call(call) for call in choice.calls]} if choice.calls else message


def _call(call: MadeCall) -> Event:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _streamed(call: MadeCall) -> Event:
    return {"index": call.index, **_call(call)}


def _piece(choice: Choice, delta: Event, finish_reason: str | None = None, logprobs: Event | None = None) -> Event:
    return {"index": choice.index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


def _logprobs(answer: Answer, found: Sequence[TokenLogprob]) -> Event | None:
    if answer.request.likeliest is None:
        return None
    tokens = [_token(each) | {"top_logprobs": [_token(other) for other in each.top]} for each in found]
    return {"content": tokens, "refusal": None}


def _token(found: TokenLogprob) -> Event:
    return {
        "token": presentation.token_text(found.utf8),
        "logprob": presentation.shown(found.logprob),
        "bytes": list(found.utf8),
    }
