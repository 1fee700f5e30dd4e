"""Answers as OpenAI's API words them: one body, or server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from pawl_inference.chat import Answer
from pawl_inference.errors import ApiError

DONE = b"data: [DONE]\n\n"


def headers(answer: Answer) -> dict[str, str]:
    """What an answer says of itself beside its body."""
    return {
        "x-request-id": str(answer.id),
        "x-pawl-version": answer.version,
        "x-pawl-arm": answer.assignment.arm,
        "x-pawl-feedback-token": answer.feedback_token,
    }


async def whole(answer: Answer) -> dict[str, Any]:
    """The body of a plain answer. Raises ApiError."""
    finish_reason = None
    async for chunk in answer.chunks():
        finish_reason = chunk.finish_reason
    message = {"role": "assistant", "content": "".join(answer.text), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _public(finish_reason)}
    return _frame(answer, "chat.completion") | {
        "choices": [choice],
        "usage": _usage(answer),
        "metadata": metadata(answer),
    }


async def stream(answer: Answer) -> AsyncGenerator[bytes, None]:
    """The events of a streamed answer; an error in its middle is an event too, as the status is sent already."""
    frame = _frame(answer, "chat.completion.chunk")
    wants_usage = bool(answer.request.stream_options and answer.request.stream_options.include_usage)
    if wants_usage:
        frame["usage"] = None
    yield _event(frame | {"choices": [_choice({"role": "assistant", "content": ""})]})
    chunks = answer.chunks()
    try:
        async for chunk in chunks:
            if chunk.text:
                yield _event(frame | {"choices": [_choice({"content": chunk.text})]})
            if chunk.finish_reason:
                last = {"choices": [_choice({}, _public(chunk.finish_reason))], "metadata": metadata(answer)}
                yield _event(frame | last)
        if wants_usage:
            yield _event(frame | {"choices": [], "usage": _usage(answer), "metadata": metadata(answer)})
        yield DONE
    except ApiError as error:
        yield _event(error.body())
    finally:
        await chunks.aclose()


def metadata(answer: Answer) -> dict[str, str]:
    """Pawl's own part of an answer, for clients that hide headers."""
    return {
        "feedback_token": answer.feedback_token,
        "inference_id": str(answer.id),
        "version": answer.version,
        "arm": answer.assignment.arm,
    }


def _frame(answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": str(answer.id),
        "object": kind,
        "created": int(answer.created.timestamp()),
        "model": answer.request.model,
        "system_fingerprint": answer.version,
    }


def _choice(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _public(finish_reason: str | None) -> str:
    """OpenAI knows no `cancelled`; a client that still listens (a shutdown) sees an answer that was cut."""
    return "stop" if finish_reason == "stop" else "length"


def _usage(answer: Answer) -> dict[str, int]:
    prompt, completion = answer.usage.prompt_tokens, answer.usage.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _event(body: object) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
