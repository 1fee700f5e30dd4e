"""What answers of both kinds of completions have in common, as OpenAI's API words it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pawl_inference.errors import ApiError
from pawl_inference.handlers.answering import Answer
from pawl_inference.handlers.choice import Choice

_LEAST = -9999.0
_DONE = b"data: [DONE]\n\n"
Event = dict[str, Any]


class AnswerStream(StreamingResponse):
    """Server-sent events, the first of which is there. However it ends, also before it began, the answer is closed."""

    def __init__(self, answer: Answer, first: Event, events: AsyncGenerator[Event, None]) -> None:
        lines, told = _lines(first, events), {"cache-control": "no-cache", **headers(answer)}
        super().__init__(lines, media_type="text/event-stream", headers=told)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.close()


def headers(answer: Answer) -> dict[str, str]:
    """What an answer says of itself beside its body."""
    return {
        **request_id(answer),
        "x-pawl-version": answer.version,
        "x-pawl-arm": answer.assignment.arm,
        "x-pawl-feedback-token": answer.choices[0].feedback_token,
    }


def request_id(answer: Answer) -> dict[str, str]:
    """The header that OpenAI's SDKs tell of answers and errors."""
    return {"x-request-id": str(answer.id)}


def metadata(answer: Answer) -> dict[str, Any]:
    """Pawl's own part of an answer, for clients that hide headers. With several choices each has its token."""
    several = {"feedback_tokens": [choice.feedback_token for choice in answer.choices]}
    return _own(answer, answer.choices[0]) | (several if len(answer.choices) > 1 else {})


def last_metadata(answer: Answer, choice: Choice) -> dict[str, Any]:
    """In a stream: what comes with the end of one choice."""
    return _own(answer, choice)


def frame(answer: Answer, kind: str) -> Event:
    """What is the same in a body and in every chunk."""
    return {
        "id": str(answer.id),
        "object": kind,
        "created": int(answer.created.timestamp()),
        "model": answer.request.model,
        "system_fingerprint": answer.version,
    }


def finish_reason(choice: Choice) -> str:
    """OpenAI knows no `cancelled`; a client that still listens (a shutdown) sees an answer that was cut."""
    if choice.finish_reason != "stop":
        return "length"
    return "tool_calls" if choice.calls else "stop"


def usage(answer: Answer) -> dict[str, Any]:
    """Token counts of all choices."""
    prompt, completion = answer.usage.prompt_tokens, answer.usage.completion_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": answer.usage.cached_tokens},
    }


def token_text(utf8: bytes) -> str:
    """A token as text; a part of a character has none, and is written as OpenAI does."""
    try:
        return utf8.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in utf8)


def shown(logprob: float) -> float:
    """What OpenAI shows of tokens that are all but impossible."""
    return max(logprob, _LEAST)


def _own(answer: Answer, choice: Choice) -> dict[str, Any]:
    return {
        "feedback_token": choice.feedback_token,
        "inference_id": str(answer.id),
        "version": answer.version,
        "arm": answer.assignment.arm,
    }


async def _lines(first: Event, events: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
    """An error in the middle is an event too, as the status is sent already."""
    try:
        yield _line(first)
        async for event in events:
            yield _line(event)
        yield _DONE
    except ApiError as error:
        yield _line(error.body())
    finally:
        await events.aclose()


def _line(body: object) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
