"""Answers as text completions: one body, or chunks of the same shape."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from pawl_inference.api import presentation
from pawl_inference.api.presentation import Event
from pawl_inference.bodies.text_body import TextRequest
from pawl_inference.engine.port import TokenLogprob
from pawl_inference.handlers.answering import Answer
from pawl_inference.handlers.choice import Choice

_KIND = "text_completion"


class _Logprobs:
    """Log-probabilities of one choice in their older shape; offsets go on from one chunk to the next."""

    def __init__(self, likeliest: int | None) -> None:
        self._likeliest = likeliest
        self._characters = 0

    def told(self, found: Sequence[TokenLogprob]) -> Event | None:
        """What is told of these tokens, the next ones."""
        if self._likeliest is None:
            return None
        offsets = []
        for each in found:
            offsets.append(self._characters)
            self._characters += sum(byte & 0xC0 != 0x80 for byte in each.utf8)  # bytes at which a character begins
        return {
            "tokens": [presentation.token_text(each.utf8) for each in found],
            "token_logprobs": [presentation.shown(each.logprob) for each in found],
            "top_logprobs": [_likeliest(each) for each in found] if self._likeliest else None,
            "text_offset": offsets,
        }


async def whole(answer: Answer, request: TextRequest) -> Event:
    """The body of a plain answer. Raises ApiError."""
    async with aclosing(answer.chunks()) as chunks:
        async for _ in chunks:
            pass
    choices = [
        _choice(
            choice,
            _echoed(choice, request) + "".join(choice.text),
            _Logprobs(request.likeliest).told(choice.logprobs),
            presentation.finish_reason(choice),
        )
        for choice in answer.choices
    ]
    return presentation.frame(answer, _KIND) | {
        "choices": choices,
        "usage": presentation.usage(answer),
        "metadata": presentation.metadata(answer),
    }


async def stream(answer: Answer, request: TextRequest) -> AsyncGenerator[Event, None]:
    """The chunks of a streamed answer; those of several choices come as they are made. Raises ApiError."""
    frame = presentation.frame(answer, _KIND)
    if request.wants_usage:
        frame["usage"] = None
    logprobs = [_Logprobs(request.likeliest) for _ in answer.choices]
    unsaid = {choice.index for choice in answer.choices if request.echo}
    async with aclosing(answer.chunks()) as chunks:
        async for choice, chunk in chunks:
            if choice.index in unsaid:
                unsaid.remove(choice.index)
                yield frame | {"choices": [_choice(choice, _echoed(choice, request))]}
            if chunk.text or chunk.logprobs:
                told = logprobs[choice.index].told(chunk.logprobs)
                yield frame | {"choices": [_choice(choice, chunk.text, told)]}
            if chunk.finish_reason:
                own = presentation.last_metadata(answer, choice)
                ended = _choice(choice, "", finish_reason=presentation.finish_reason(choice))
                yield frame | {"choices": [ended], "metadata": own}
    if request.wants_usage:
        totals = {"usage": presentation.usage(answer), "metadata": presentation.metadata(answer)}
        yield frame | {"choices": [], **totals}


def _choice(choice: Choice, text: str, logprobs: Event | None = None, finish_reason: str | None = None) -> Event:
    return {"text": text, "index": choice.index, "logprobs": logprobs, "finish_reason": finish_reason}


def _echoed(choice: Choice, request: TextRequest) -> str:
    return choice.queued.prompt.turns[0].content if request.echo else ""


def _likeliest(found: TokenLogprob) -> dict[str, float]:
    """With the chosen token, which need not be among the likeliest."""
    return {presentation.token_text(each.utf8): presentation.shown(each.logprob) for each in (*found.top, found)}
