"""What the service asks of an engine. The HTTP part depends on this file only, so a fake can stand in for it.

Threads: `submit`, `cancel` and `stats` return at once and may be called from the event loop, and so may `encode_*` and
`decode` with short texts (up to 1 us a character). `compile`, `publish`, `retire` and `close` may block (grammars,
files, packing, a warm-up step): call them by `asyncio.to_thread`.
"""

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pawl_inference.engine.constraint import CallFormat, Constraint
from pawl_shared.errors import PawlError

# "expired": its time was up before the first token; later than that, an answer ends with "length".
FinishReason = Literal["stop", "length", "cancelled", "expired", "error"]


class EngineError(PawlError):
    """Base of what an engine refuses."""


class QueueFullError(EngineError):
    """Too many requests wait; the caller should answer 429."""

    def __init__(self, waiting: int, retry_after_seconds: float) -> None:
        super().__init__(f"{waiting} requests are waiting already; try again in {retry_after_seconds:.0f} s")
        self.retry_after_seconds = retry_after_seconds


class UnknownVersionError(EngineError):
    """The version is neither the base nor published (or has been retired)."""


class UnknownTokenError(EngineError):
    """A token id is not in the model's vocabulary; the caller should answer 400."""


class PromptTooLongError(EngineError):
    """The prompt leaves no room for an answer; the caller should answer 400."""

    def __init__(self, prompt_tokens: int, context_length: int) -> None:
        super().__init__(
            f"the prompt has {prompt_tokens} tokens and the context holds {context_length}, answer included; shorten it"
        )
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length


class ChatTemplateError(EngineError):
    """The base model's chat template refuses these messages or tools; the caller should answer 400."""


class BiasedTokenError(EngineError):
    """A bias names a token id that the model does not have; the caller should answer 400."""


class ToolsUnsupportedError(EngineError):
    """The base model's chat template has no place for tools; the caller should answer 400."""


class ConstraintError(EngineError):
    """No grammar can express what the answer must be; the caller should answer 400."""


class NoFreeSlotError(EngineError):
    """Requests hold every slot; later, or with more slots, there is room."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. `temperature` 0 is greedy; a `top_k` of 0 and a `min_p` of 0 are off.

    With a seed, the same request gives the same text, whatever else is in the batch.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()  # token ids, and what is added to their logits


@dataclass(frozen=True)
class GenerationRequest:
    """One answer to be made. `version` is a full digest: the base's, or one that was published.

    An answer that reaches the end of the context before `max_tokens` ends there, with finish_reason "length".
    `timeout_seconds` counts from `submit`. Who waits takes turns by `share`, such as (app, user).
    """

    version: str
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    timeout_seconds: float = math.inf
    share: tuple[str, ...] = ()
    top_logprobs: int | None = None  # None: no logprobs; 0: only those of the chosen tokens
    constraint: Constraint | None = None  # what the answer must be; it ends where nothing can follow


@dataclass(frozen=True)
class Usage:
    """Token counts. `completion_tokens` includes the end-of-turn token; `cached_tokens` of the prompt were not computed
    again, as an earlier prompt began with them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True)
class TokenLogprob:
    """Log-probability (natural logarithm) of a chosen token and of the likeliest others: the model's own, before
    temperature, penalties and what a constraint allows."""

    utf8: bytes  # of the token: perhaps only a part of a character
    logprob: float
    top: "tuple[TokenLogprob, ...]" = ()


@dataclass(frozen=True)
class GenerationChunk:
    """A piece of an answer. Only the last one has `finish_reason` and `usage`; its text may be empty."""

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    error: str | None = None
    too_complex: bool = False  # the error is of the request's constraint: its grammar became too complex midway


class Generation(Protocol):
    """A request in flight: iterate it once, in the loop where it was submitted; cancel it when the client left."""

    def __aiter__(self) -> AsyncIterator[GenerationChunk]: ...

    def cancel(self) -> None:
        """Stop as soon as the running step ends. Iteration then ends with finish_reason "cancelled"."""
        ...


@dataclass(frozen=True)
class EngineInfo:
    """What does not change while the engine lives."""

    base: str  # digest of the base model = version of the base
    graph: str  # digest of the serving graph
    name: str  # the base model's name
    context_length: int  # tokens, prompt and answer together
    max_batch: int
    slots: int  # adapters that can be held at once
    max_rank: int  # the adapter rank that the graph was built for
    calls: CallFormat | None = None  # how the base writes calls of tools; None: its template has no place for them


@dataclass(frozen=True)
class EngineStats:
    """A moment of a running engine."""

    active: int
    waiting: int
    steps: int  # since start
    generated_tokens: int  # since start
    slots_used: int
    wait_seconds: float = 0.0  # how long a request that came now would wait for its turn, by estimate


class Engine(Protocol):
    """Generates text with one base model and any of the adapters that were published to it."""

    @property
    def info(self) -> EngineInfo: ...

    def versions(self) -> frozenset[str]:
        """Versions that a new request may name: the base and what is published."""
        ...

    def stats(self) -> EngineStats: ...

    def encode_chat(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
    ) -> tuple[int, ...]:
        """Token ids of a conversation under the base model's own template, ready for the assistant's turn.

        Raises:
            ChatTemplateError: the template refuses these messages.
            ToolsUnsupportedError: it has no place for the tools, or for calls and results in the messages.
        """
        ...

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of plain text (for /v1/completions)."""
        ...

    def compile(self, constraint: Constraint) -> None:
        """Make a constraint ready, so that `submit` need not. May block (milliseconds; the first one half a second).

        Raises:
            ConstraintError: no grammar can express it.
        """

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, without special tokens. Raises UnknownTokenError."""
        ...

    def publish(self, version: str, slot_file: Path, *, insist: bool = False) -> None:
        """Make a version servable: read and check the file, fill a free slot, warm it, then let new requests see it.

        Requests in flight are not touched. Publishing a version that is live does nothing. Where no slot is free, the
        version that was asked for the longest ago, and that no request holds, makes room and is not servable any more.
        Where requests hold them all, one that insists hides the version that has been servable the longest: no request
        comes to it any more, so its slot is free in a while. It is kept for the one that insists, as long as that asks
        again within a second.

        Raises:
            AdapterRejectedError: the file is damaged, not finite, or made for another base or graph; nothing changed.
            NoFreeSlotError: requests hold all slots; nothing else changed.
        """
        ...

    def retire(self, version: str) -> None:
        """No new request may name the version; its slot is free when the requests that hold it have ended."""
        ...

    def submit(self, request: GenerationRequest) -> Generation:
        """Queue a request (to be called in a running event loop). The version is pinned from now on.

        Raises:
            UnknownVersionError, PromptTooLongError, QueueFullError, ConstraintError, BiasedTokenError.
        """
        ...

    def close(self) -> None:
        """End the decode thread; requests in flight end as "cancelled"."""
        ...

    def close_if_idle(self) -> bool:
        """End the decode thread unless requests are in flight or wait; whether it did. Who comes later is told
        (UnknownVersionError), so that nobody's answer is cut."""
        ...
