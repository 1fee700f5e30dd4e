"""One choice of an answer as it comes, and its log entry before it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import UUID

from pawl_inference import errors
from pawl_inference.domain.calls import Call, CallReader, Read
from pawl_inference.engine.port import GenerationChunk, TokenLogprob, Usage
from pawl_inference.handlers import constraints
from pawl_inference.handlers.submission import Queued
from pawl_inference.record.journal import JournalFullError
from pawl_shared import logging
from pawl_shared.clock import Clock
from pawl_shared.ids import derived_id

log = logging.get(__name__)
Ending = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class MadeCall:
    """A call of a tool in an answer."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Piece:
    """A piece of an answer as the client sees it: without the words that calls are written in."""

    text: str = ""
    calls: tuple[MadeCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: Ending | None = None


@dataclass
class Choice:
    """An answer in flight. Iterate `chunks` once; the last chunk comes when the answer is safely in the journal.

    `record` writes it there. Raises JournalFullError.
    """

    inference_id: UUID
    index: int
    queued: Queued
    feedback_token: str
    clock: Clock
    started: float
    record: Callable[[Choice, Ending], None]
    wait_seconds: Callable[[], float]  # by estimate, of a request that came now
    reader: CallReader | None = None  # none: no tools were offered
    usage: Usage = field(init=False)
    text: list[str] = field(default_factory=list)  # as the model wrote it
    content: list[str] = field(default_factory=list)  # without its calls
    calls: list[MadeCall] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    first_token_seconds: float | None = None
    failed: bool = False
    expired: bool = False  # its time was up before its first token
    finish_reason: Ending | None = None

    def __post_init__(self) -> None:
        self.usage = Usage(len(self.queued.prompt.tokens), 0)

    async def chunks(self) -> AsyncGenerator[Piece, None]:
        """The answer as it comes. Left early (the client went away), the answer is cancelled and logged as such.

        One whose time was up before its first token ends without a last chunk: what becomes of it, `Answer` knows.

        Raises ApiError when the engine failed, or when the answer cannot be logged: then it is not given either.
        """
        try:
            async for chunk in self.queued.generation:
                piece = self._note(chunk)
                if chunk.too_complex:
                    raise constraints.refused(self.queued.constraint, f"it became too complex midway ({chunk.error})")
                if chunk.finish_reason == "error":
                    self.failed = True
                    log.error("answer failed", inference_id=str(self.inference_id), error=chunk.error)
                    raise errors.internal()
                if chunk.finish_reason == "expired":
                    self.expired = True
                    return
                if chunk.finish_reason == "cancelled" and not self.usage.completion_tokens:
                    raise errors.ending()  # the client still reads: it was the service that cancelled
                if chunk.finish_reason is not None:
                    self._finish(chunk.finish_reason)
                    piece = replace(piece, finish_reason=chunk.finish_reason)
                yield piece
        finally:
            if not self.expired:
                self.close()

    def cut(self) -> Piece:
        """End one that has expired as what it is beside others: cut by a limit, after nothing. Raises ApiError."""
        self._finish("length")
        return Piece(finish_reason="length")

    def close(self) -> None:
        """Nobody reads the answer any more: if it has not ended it is cancelled, and logged where there is room."""
        if self.finish_reason is not None:
            return
        self.queued.generation.cancel()
        try:
            self._finish("cancelled")
        except errors.ApiError as error:
            log.warning("cancelled answer not logged", inference_id=str(self.inference_id), error=error.message)

    def _note(self, chunk: GenerationChunk) -> Piece:
        self.text.append(chunk.text)
        self.logprobs += chunk.logprobs
        self.usage = chunk.usage or Usage(self.usage.prompt_tokens, self.usage.completion_tokens + len(chunk.token_ids))
        if self.first_token_seconds is None and chunk.token_ids:
            self.first_token_seconds = self.clock.monotonic() - self.started
        read = self._read(chunk)
        made = tuple(self._made(number, call) for number, call in enumerate(read.calls, len(self.calls)))
        self.content.append(read.text)
        self.calls += made
        return Piece(read.text, made, chunk.logprobs)

    def _read(self, chunk: GenerationChunk) -> Read:
        if self.reader is None:
            return Read(chunk.text)
        found = self.reader.push(chunk.text)
        if chunk.finish_reason is None:
            return found
        rest = self.reader.finish()
        return Read(found.text + rest.text, found.calls + rest.calls)

    def _made(self, index: int, call: Call) -> MadeCall:
        identity = derived_id(self.inference_id, f"call:{self.index}:{index}").hex[:24]
        return MadeCall(index, f"call_{identity}", call.name, call.arguments)

    def _finish(self, ending: Ending) -> None:
        self.finish_reason = ending
        try:
            self.record(self, ending)
        except JournalFullError as error:
            raise errors.unavailable(str(error), "journal_full") from error
