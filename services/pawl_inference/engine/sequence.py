"""One request on its way through the engine: its tokens, its place in the cache, and what it has told its caller."""

import time
from collections.abc import Callable

import numpy as np

from pawl_inference.engine import sampling
from pawl_inference.engine.grammar import ConstraintBrokenError, Matcher
from pawl_inference.engine.logprobs import TokenLogprobs
from pawl_inference.engine.port import FinishReason, GenerationChunk, GenerationRequest, Usage
from pawl_inference.engine.sampling import History, Logits
from pawl_inference.engine.text import TextCodec, TextStream


class Sequence:
    """State of a request. The decode thread owns it; only `cancelled` is set from outside."""

    def __init__(
        self,
        request: GenerationRequest,
        slot: int | None,
        codec: TextCodec,
        limit: int,
        eos: frozenset[int],
        tell: Callable[[GenerationChunk], None],
        ended: Callable[["Sequence"], None],
        matcher: Matcher | None = None,
    ) -> None:
        self.request, self.slot = request, slot
        self.version, self.prompt = request.version, request.prompt
        self.past = 0  # tokens in the cache
        self.cached = 0  # prompt tokens that the prefix cache gave
        self.prefix: list[bytes] = []  # keys of the prompt's chunks so far, see PrefixCache
        self.tokens: list[int] = []
        self.cancelled = False
        self.deadline = time.monotonic() + request.timeout_seconds
        self.seated: float | None = None  # when its turn came, monotonic seconds
        self.finished: FinishReason | None = None
        self._codec, self._limit, self._eos, self._tell, self._ended = codec, limit, eos, tell, ended
        self._matcher = matcher
        self._stream = TextStream(codec, request.stop)
        self._history = History(prompt=frozenset(self.prompt))
        self._random = np.random.Generator(np.random.PCG64(request.sampling.seed))
        self._text = ""
        self._untold: list[int] = []
        self._logprobs = None if request.top_logprobs is None else TokenLogprobs(codec, request.top_logprobs)

    @property
    def prompt_left(self) -> int:
        """Prompt tokens that are not in the cache yet."""
        return max(0, len(self.prompt) - self.past)

    def accept(self, logits: Logits) -> None:
        """Draw the next token from logits [vocabulary] and tell the caller what became certain."""
        if not np.isfinite(logits).all():
            self.fail("the model gave logits that are not finite")
            return
        try:
            token, complete = self._choose(logits)
        except ConstraintBrokenError as error:
            self._end("error", str(error), too_complex=True)
            return
        if self._logprobs is not None and token not in self._eos:
            self._logprobs.add(token, logits)
        self.tokens.append(token)
        self._untold.append(token)
        self._history.answer[token] += 1
        if token in self._eos:
            self.finish("stop")
            return
        self._text += self._stream.push(token)
        if self._stream.stopped or complete:
            self.finish("stop")
        elif len(self.tokens) >= self._limit:
            self.finish("length")
        elif self._text:
            self._flush()

    def _choose(self, logits: Logits) -> tuple[int, bool]:
        """The next token, and whether the answer's constraint lets nothing follow it."""
        uniform = self._random.random()
        if self._matcher is None:
            return sampling.choose(logits, self.request.sampling, self._history, uniform), False
        token = sampling.choose(logits, self.request.sampling, self._history, uniform, self._matcher.allowed())
        return token, self._matcher.accept(token)

    def finish(self, reason: FinishReason) -> None:
        """End the answer; the caller gets the rest of the text and the token counts."""
        self._text += self._stream.finish()
        self._end(reason)

    def end_early(self, now: float) -> None:
        """End what nobody waits for any more, or whose time is up: what is written of it was cut by a limit."""
        if self.finished is not None:
            return
        if self.cancelled:
            self.finish("cancelled")
        elif now >= self.deadline:
            self.finish("length" if self.tokens else "expired")

    def fail(self, error: str) -> None:
        """End the answer with an error."""
        self._end("error", error)

    def _end(self, reason: FinishReason, error: str | None = None, *, too_complex: bool = False) -> None:
        self.finished = reason
        self._ended(self)  # first: who hears of the end may count on the slot being free
        self._flush(reason, error, too_complex)

    def _flush(self, reason: FinishReason | None = None, error: str | None = None, too_complex: bool = False) -> None:
        usage = Usage(len(self.prompt), len(self.tokens), self.cached) if reason else None
        whole = reason is not None and not self._stream.stopped
        logprobs = self._logprobs.told(self._text, all_of_it=whole) if self._logprobs else ()
        chunk = GenerationChunk(self._text, tuple(self._untold), logprobs, reason, usage, error, too_complex)
        self._text, self._untold = "", []
        self._tell(chunk)
