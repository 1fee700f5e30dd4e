"""One choice of an answer as it comes, and its log entry before it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from pawl_inference import errors
from pawl_inference.engine.port import GenerationChunk, TokenLogprob, Usage
from pawl_inference.journal import JournalFullError
from pawl_inference.submission import Queued
from pawl_shared import logging
from pawl_shared.clock import Clock

log = logging.get(__name__)
Ending = Literal["stop", "length", "cancelled"]


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
    usage: Usage = field(init=False)
    text: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    first_token_seconds: float | None = None
    failed: bool = False
    finish_reason: Ending | None = None

    def __post_init__(self) -> None:
        self.usage = Usage(len(self.queued.prompt.tokens), 0)

    async def chunks(self) -> AsyncGenerator[GenerationChunk, None]:
        """The engine's chunks. Left early (the client went away), the answer is cancelled and logged as such.

        Raises ApiError when the engine failed, when the time was up before the first token, or when the answer cannot
        be logged: then it is not given either.
        """
        try:
            async for chunk in self.queued.generation:
                self._note(chunk)
                if chunk.finish_reason == "error":
                    self.failed = True
                    log.error("answer failed", inference_id=str(self.inference_id), error=chunk.error)
                    raise errors.internal()
                if chunk.finish_reason == "expired":
                    raise errors.expired(self.wait_seconds())
                if chunk.finish_reason == "cancelled" and not self.usage.completion_tokens:
                    raise errors.ending()  # the client still reads: it was the service that cancelled
                if chunk.finish_reason is not None:
                    self._finish(chunk.finish_reason)
                yield chunk
        finally:
            self.close()

    def close(self) -> None:
        """Nobody reads the answer any more: if it has not ended it is cancelled, and logged where there is room."""
        if self.finish_reason is not None:
            return
        self.queued.generation.cancel()
        try:
            self._finish("cancelled")
        except errors.ApiError as error:
            log.warning("cancelled answer not logged", inference_id=str(self.inference_id), error=error.message)

    def _note(self, chunk: GenerationChunk) -> None:
        self.text.append(chunk.text)
        self.logprobs += chunk.logprobs
        self.usage = chunk.usage or Usage(self.usage.prompt_tokens, self.usage.completion_tokens + len(chunk.token_ids))
        if self.first_token_seconds is None and chunk.token_ids:
            self.first_token_seconds = self.clock.monotonic() - self.started

    def _finish(self, ending: Ending) -> None:
        self.finish_reason = ending
        try:
            self.record(self, ending)
        except JournalFullError as error:
            raise errors.unavailable(str(error), "journal_full") from error
