"""Asks an engine and collects whole answers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from pawl_inference.engine.port import Engine, FinishReason, GenerationChunk, GenerationRequest, Sampling, Usage

GREEDY = Sampling(temperature=0)


@dataclass(frozen=True)
class Answer:
    """A finished answer, put together from its chunks."""

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason | None
    usage: Usage | None
    error: str | None


def request(
    engine: Engine,
    version: str,
    prompt: str,
    sampling: Sampling = GREEDY,
    max_tokens: int = 24,
    stop: tuple[str, ...] = (),
) -> GenerationRequest:
    """A request for one user message."""
    tokens = engine.encode_chat([{"role": "user", "content": prompt}])
    return GenerationRequest(version, tokens, max_tokens, sampling, stop)


async def answer(engine: Engine, wanted: GenerationRequest) -> Answer:
    """Submit a request and wait for its end."""
    chunks = [chunk async for chunk in engine.submit(wanted)]
    return put_together(chunks)


def put_together(chunks: Sequence[GenerationChunk]) -> Answer:
    last = chunks[-1]
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    tokens = tuple(token for chunk in chunks for token in chunk.token_ids)
    text = "".join(chunk.text for chunk in chunks)
    return Answer(text, tokens, last.finish_reason, last.usage, last.error)


async def one_by_one(engine: Engine, requests: Sequence[GenerationRequest]) -> list[Answer]:
    """Each request alone in the engine."""
    return [await answer(engine, wanted) for wanted in requests]


async def together(engine: Engine, requests: Sequence[GenerationRequest]) -> list[Answer]:
    """All requests at once."""
    return list(await asyncio.gather(*(answer(engine, wanted) for wanted in requests)))
