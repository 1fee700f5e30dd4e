"""An engine that answers at once with words of its own: what the HTTP service meets in tests."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pawl_inference.engine.constraint import Constraint
from pawl_inference.engine.port import (
    BiasedTokenError,
    ConstraintError,
    EngineInfo,
    EngineStats,
    FinishReason,
    GenerationChunk,
    GenerationRequest,
    PromptTooLongError,
    QueueFullError,
    TokenLogprob,
    ToolsUnsupportedError,
    UnknownTokenError,
    UnknownVersionError,
    Usage,
)
from pawl_shared.errors import AdapterRejectedError

CONTEXT = 64
VOCABULARY = 1000


class FakeGeneration:
    """The words of an answer, one a chunk. With a `gate` it waits there after the first word."""

    def __init__(self, engine: "FakeEngine", request: GenerationRequest) -> None:
        self._engine, self._request = engine, request
        self._cancelled = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[GenerationChunk]:
        if self._engine.ends is not None:
            yield GenerationChunk("", finish_reason=self._engine.ends, usage=self._usage(0))
            return
        words = self._engine.words(self._request)[: self._request.max_tokens]
        for number, word in enumerate(words):
            text = word if number == 0 else f" {word}"
            yield GenerationChunk(text, (number,), self._logprobs(text))
            await asyncio.sleep(0)
            if self._engine.gate is not None:
                await self._wait(self._engine.gate)
            if self._cancelled.is_set():
                yield GenerationChunk("", finish_reason="cancelled", usage=self._usage(number + 1))
                return
        if self._engine.too_complex:
            yield GenerationChunk("", finish_reason="error", error="too many states", too_complex=True)
            return
        if self._engine.fails:
            yield GenerationChunk("", finish_reason="error", error="the fake engine was told to fail")
            return
        ending = "length" if len(words) == self._request.max_tokens else "stop"
        yield GenerationChunk("", finish_reason=ending, usage=self._usage(len(words)))

    def cancel(self) -> None:
        self._engine.cancelled += 1
        self._cancelled.set()

    async def _wait(self, gate: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (gate, self._cancelled)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _logprobs(self, text: str) -> tuple[TokenLogprob, ...]:
        """The likeliest tokens: the chosen one, then parts of a character."""
        if self._request.top_logprobs is None:
            return ()
        top = (TokenLogprob(text.encode(), -0.5), TokenLogprob(b"\xf0\x9f", -1.5), TokenLogprob(b"\xe2", -1e5))
        return (TokenLogprob(text.encode(), -0.5, top[: self._request.top_logprobs]),)

    def _usage(self, tokens: int) -> Usage:
        return Usage(len(self._request.prompt), tokens)


class FakeEngine:
    """Remembers what it was asked. Slot files whose content begins with `bad` are refused."""

    def __init__(self, base: str, graph: str) -> None:
        self.info = EngineInfo(base, graph, "fake", CONTEXT, max_batch=4, slots=3, max_rank=16)
        self.published: dict[str, Path] = {}
        self.retired: list[str] = []
        self.requests: list[GenerationRequest] = []
        self.conversations: list[list[dict[str, Any]]] = []
        self.compiled: list[Constraint] = []
        self.gate: asyncio.Event | None = None
        self.fails = False
        self.ends: FinishReason | None = None  # before its first word
        self.too_complex = False
        self.said: list[str] | None = None
        self.tools: list[Sequence[Mapping[str, Any]] | None] = []
        self.full = False
        self.cancelled = 0
        self.generations: list[FakeGeneration] = []
        self.closed = False

    def words(self, request: GenerationRequest) -> list[str]:
        """Every version says its own name, unless it is told what to say."""
        if self.said is not None:
            return self.said
        return ["I", "am", request.version[:6]]

    def versions(self) -> frozenset[str]:
        return frozenset({self.info.base, *self.published})

    def stats(self) -> EngineStats:
        return EngineStats(0, 0, 0, 0, len(self.published), wait_seconds=7.0)

    def encode_chat(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
    ) -> tuple[int, ...]:
        if tools and self.info.calls is None:
            raise ToolsUnsupportedError("this base model's chat template has no place for tools")
        self.conversations.append([dict(message) for message in messages])
        self.tools.append(tools)
        return tuple(range(sum(len(message["content"].split()) for message in messages)))

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(range(len(text.split())))

    def compile(self, constraint: Constraint) -> None:
        self.compiled.append(constraint)
        if "uniqueItems" in repr(constraint):
            raise ConstraintError('Unimplemented keys: ["uniqueItems"]')

    def decode(self, tokens: Sequence[int]) -> str:
        if any(token >= VOCABULARY for token in tokens):
            raise UnknownTokenError(f"the fake engine knows {VOCABULARY} tokens")
        return " ".join(f"t{token}" for token in tokens)

    def publish(self, version: str, slot_file: Path, *, insist: bool = False) -> None:
        if slot_file.read_bytes().startswith(b"bad"):
            raise AdapterRejectedError("adapter refused (not_finite): the fake engine was given a bad file")
        self.published[version] = slot_file

    def retire(self, version: str) -> None:
        self.retired.append(version)
        del self.published[version]

    def submit(self, request: GenerationRequest) -> FakeGeneration:
        if self.full:
            raise QueueFullError(64, 3.0)
        if request.version not in self.versions():
            raise UnknownVersionError(f"version {request.version[:12]} is not loaded")
        if len(request.prompt) >= CONTEXT:
            raise PromptTooLongError(len(request.prompt), CONTEXT)
        if any(token >= VOCABULARY for token, _ in request.sampling.logit_bias):
            raise BiasedTokenError(f"the fake engine knows {VOCABULARY} tokens")
        self.requests.append(request)
        self.generations.append(FakeGeneration(self, request))
        return self.generations[-1]

    def close_if_idle(self) -> bool:
        self.close()
        return True

    def close(self) -> None:
        self.closed = True
        for generation in self.generations:
            generation.cancel()
