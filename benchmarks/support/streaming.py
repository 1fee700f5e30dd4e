"""Streamed chat completions over raw sockets, with the moment of every piece of text; for any server of that API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.support.http_load import HOST, request


@dataclass
class Streamed:
    """One answer. `moments`: when each piece of text came, in seconds after the request was sent."""

    status: int = 0
    text: str = ""
    moments: list[float] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0
    complete: bool = False

    @property
    def gaps(self) -> list[float]:
        """Seconds between pieces of text."""
        return [after - before for before, after in zip(self.moments, self.moments[1:], strict=False)]


@dataclass(frozen=True)
class Load:
    """What many clients saw together."""

    answers: Sequence[Streamed]
    seconds: float

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return sum(answer.tokens for answer in self.answers) / self.seconds


def body(prompt: str, max_tokens: int, **more: Any) -> dict[str, Any]:
    """A greedy, streamed request that asks for its token counts."""
    asked = {"model": "assistant", "messages": [{"role": "user", "content": prompt}], "max_tokens": max_tokens}
    return asked | {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}} | more


async def stream(port: int, asked: dict[str, Any], leave_after: int | None = None) -> Streamed:
    """Send one request and read its answer; `leave_after`: hang up after so many pieces of text.

    Raises:
        OSError, asyncio.IncompleteReadError: the connection broke.
    """
    found, began = Streamed(), time.perf_counter()
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(request("/v1/chat/completions", asked, connection="close"))
        head = await reader.readuntil(b"\r\n\r\n")
        found.status = int(head.split()[1])
        while found.status == 200 and (line := await reader.readline()):
            if not line.startswith(b"data: "):
                continue  # between events, and sizes of HTTP's chunks
            if line.startswith(b"data: [DONE]"):
                found.complete = True
                break
            _take(found, json.loads(line[6:]), time.perf_counter() - began)
            if leave_after is not None and len(found.moments) >= leave_after:
                break
    finally:
        writer.close()
    found.seconds = time.perf_counter() - began
    return found


def _take(found: Streamed, event: dict[str, Any], moment: float) -> None:
    for choice in event.get("choices", ()):
        if text := choice.get("delta", {}).get("content"):
            found.text += text
            found.moments.append(moment)
    if usage := event.get("usage"):
        found.tokens = usage["completion_tokens"]


async def clients(port: int, prompts: Sequence[Sequence[str]], max_tokens: int) -> Load:
    """One client for each item of `prompts`, which asks them one after the other.

    Raises:
        RuntimeError: an answer did not come whole.
    """

    async def client(own: Sequence[str]) -> list[Streamed]:
        return [await stream(port, body(prompt, max_tokens)) for prompt in own]

    began = time.perf_counter()
    answers = [each for found in await asyncio.gather(*map(client, prompts)) for each in found]
    seconds = time.perf_counter() - began
    if bad := [answer for answer in answers if not answer.complete or not answer.tokens]:
        raise RuntimeError(f"{len(bad)} of {len(answers)} answers did not come whole; the first: {bad[0]}")
    return Load(answers, seconds)
