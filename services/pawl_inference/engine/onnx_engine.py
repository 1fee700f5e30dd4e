"""The engine on plain ONNX Runtime: see `port.Engine` for what it promises."""

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncIterator, Mapping
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

import numpy as np

from pawl_inference.engine import provider
from pawl_inference.engine.batching import DecodeLoop
from pawl_inference.engine.chat_template import ChatTemplate
from pawl_inference.engine.constraint import Constraint
from pawl_inference.engine.device import new_cache, new_slots, new_step
from pawl_inference.engine.grammar import Grammars
from pawl_inference.engine.graph import ServingGraph
from pawl_inference.engine.port import (
    BiasedTokenError,
    EngineInfo,
    EngineStats,
    Generation,
    GenerationChunk,
    GenerationRequest,
    PromptTooLongError,
    QueueFullError,
    Sampling,
    UnknownTokenError,
    UnknownVersionError,
)
from pawl_inference.engine.sequence import Sequence
from pawl_inference.engine.settings import EngineSettings
from pawl_inference.engine.text import TextCodec
from pawl_shared import logging
from pawl_shared.models.graph_spec import TOKENIZER_FILE
from pawl_shared.models.tensor_file import AdapterInvalidError, Fault


class OnnxEngine:
    """Serves one base graph and the adapters that are published to it.

    Args:
        graph_folder: as the validator exported it.
        graph: its digest; slot files made for another graph are refused.
    """

    def __init__(self, graph_folder: Path, graph: str, settings: EngineSettings | None = None) -> None:
        self._settings = settings or EngineSettings()
        where = self._settings.provider
        self._graph = ServingGraph(graph_folder, self._settings.threads, self._settings.spin_microseconds, where)
        spec = self._graph.spec
        if better := provider.advice(where, spec.precision):
            logging.get(__name__).warning("engine.slow_precision", base=spec.name, advice=better)
        self._codec = TextCodec(graph_folder)
        self._template = ChatTemplate(graph_folder, spec.special_tokens)
        self._eos = frozenset(spec.eos_token_ids)
        self._grammars = Grammars(graph_folder / TOKENIZER_FILE, spec.vocab_size, self._eos, self._template.calls)
        self._slots = new_slots(self._graph, graph, self._settings.slots)
        self._info = EngineInfo(
            base=spec.base,
            graph=graph,
            name=spec.name,
            context_length=spec.context_length,
            max_batch=self._settings.max_batch,
            slots=self._settings.slots,
            max_rank=spec.rank,
            calls=self._template.calls,
        )
        self._publishing = threading.Lock()
        self._seconds = 1.0  # how long a request takes from its turn to its end, smoothed
        self._warm(None)
        self._loop = DecodeLoop(self._graph, self._slots, self._settings)

    @property
    def info(self) -> EngineInfo:
        return self._info

    def versions(self) -> frozenset[str]:
        """See `port.Engine.versions`."""
        return self._slots.live() | {self._info.base}

    def stats(self) -> EngineStats:
        """See `port.Engine.stats`."""
        loop = self._loop
        return EngineStats(
            loop.active, loop.waiting, loop.steps_run, loop.tokens_made, self._slots.used(), self._wait_seconds()
        )

    def encode_chat(
        self, messages: Items[Mapping[str, Any]], tools: Items[Mapping[str, Any]] | None = None
    ) -> tuple[int, ...]:
        """See `port.Engine.encode_chat`."""
        # The template writes the special tokens itself.
        return self._codec.encode(self._template.render(messages, tools), special=False)

    def encode(self, text: str) -> tuple[int, ...]:
        """See `port.Engine.encode`."""
        return self._codec.encode(text, special=True)

    def compile(self, constraint: Constraint) -> None:
        """See `port.Engine.compile`."""
        self._grammars.compile(constraint)

    def decode(self, tokens: Items[int]) -> str:
        """See `port.Engine.decode`."""
        size = self._graph.spec.vocab_size
        for token in tokens:
            if not 0 <= token < size:
                raise UnknownTokenError(f"token {token} is not in the vocabulary, which has {size}")
        return self._codec.decode(tokens)

    def publish(self, version: str, slot_file: Path, *, insist: bool = False) -> None:
        """See `port.Engine.publish`."""
        with self._publishing:
            if version in self.versions() or self._slots.revive(version):
                return
            slot = self._slots.load(version, slot_file, insist=insist)
            try:
                self._warm(slot)
            except BaseException:
                self._slots.discard(slot)
                raise
            self._slots.activate(version, slot)

    def retire(self, version: str) -> None:
        """See `port.Engine.retire`."""
        self._slots.retire(version)

    def submit(self, request: GenerationRequest) -> Generation:
        """See `port.Engine.submit`."""
        room = self._info.context_length - len(request.prompt)
        if room < 1 or not request.prompt:
            raise PromptTooLongError(len(request.prompt), self._info.context_length)
        self._check_biases(request.sampling)
        matcher = self._grammars.compile(request.constraint) if request.constraint else None
        handle = _Handle(asyncio.get_running_loop())
        slot = self._slots.hold(request.version)
        limit = min(request.max_tokens, room)
        sequence = Sequence(request, slot, self._codec, limit, self._eos, handle.tell, self._end, matcher)
        handle.made = weakref.ref(sequence)
        if not self._loop.submit(sequence):
            self._end(sequence)
            if self._loop.closing:
                raise UnknownVersionError(f"base {self._info.name} is not served here any more")
            raise QueueFullError(self._loop.waiting, max(1.0, self._wait_seconds()))
        return handle

    def close(self) -> None:
        """See `port.Engine.close`."""
        self._loop.close()

    def close_if_idle(self) -> bool:
        """See `port.Engine.close_if_idle`."""
        return self._loop.close_if_idle()

    def _check_biases(self, sampling: Sampling) -> None:
        size = self._graph.spec.vocab_size
        for token, _ in sampling.logit_bias:
            if token >= size:
                raise BiasedTokenError(f"token {token} is not in the vocabulary, which has {size}")

    def _end(self, sequence: Sequence) -> None:
        self._slots.release(sequence.slot)
        if sequence.seated is not None and not sequence.cancelled:
            self._seconds += 0.1 * (time.monotonic() - sequence.seated - self._seconds)

    def _wait_seconds(self) -> float:
        """Little's law: a row is free every `seconds / max_batch`, and what waits already comes before."""
        free = self._info.max_batch - self._loop.active
        return self._seconds * max(0, self._loop.waiting + 1 - free) / self._info.max_batch

    def _warm(self, slot: int | None) -> None:
        """Run a token on the base or a new slot, beside the batch, so that the first request finds warm memory."""
        cache = new_cache(self._graph, 1, 1)
        [place] = self._slots.places([slot])
        step = new_step(self._graph, cache, self._slots, 0, 1, (place or 0, place or 0))
        # One token reads all of a slot; more of them would keep the batch beside it waiting.
        if not np.isfinite(step.run(np.zeros((1, 1), np.int64), [0], [place])).all():
            raise AdapterInvalidError(
                Fault.NOT_FINITE, "the model gives no finite logits" + ("" if slot is None else " with it")
            )


class _Handle:
    """A request in flight, seen from the event loop that submitted it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._chunks: asyncio.Queue[GenerationChunk] = asyncio.Queue()
        # Weak: the sequence holds this handle. Both, and with them the prompt, would else wait for the collector of
        # cycles: up to 3 MB, after some hundred answers.
        self.made: weakref.ref[Sequence] | None = None

    @property
    def sequence(self) -> Sequence | None:
        """None before it is made, and when it has ended."""
        return self.made() if self.made else None

    def tell(self, chunk: GenerationChunk) -> None:
        """Hand a chunk over to the event loop (called by the decode thread)."""
        try:
            self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self.cancel()

    def cancel(self) -> None:
        """See `port.Generation.cancel`."""
        if (sequence := self.sequence) is not None:
            sequence.cancelled = True

    async def __aiter__(self) -> AsyncIterator[GenerationChunk]:
        try:
            while True:
                chunk = await self._chunks.get()
                yield chunk
                if chunk.finish_reason is not None:
                    return
        finally:
            self.cancel()  # whoever stops reading needs no more tokens
