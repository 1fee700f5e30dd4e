"""Continuous batching (Yu et al. 2022, Orca): requests join and leave the batch between steps."""

import dataclasses
import threading
import time
from collections import OrderedDict

import numpy as np

from pawl_inference.engine import pieces
from pawl_inference.engine.device import new_cache, new_step
from pawl_inference.engine.fair_queue import FairQueue
from pawl_inference.engine.graph import ServingGraph, Step, new_logits
from pawl_inference.engine.next_turns import NextTurns
from pawl_inference.engine.pieces import Cuts
from pawl_inference.engine.port import UnknownVersionError
from pawl_inference.engine.prefix_cache import PrefixCache, Reading
from pawl_inference.engine.rows import Rows
from pawl_inference.engine.sampling import Logits
from pawl_inference.engine.sequence import Sequence
from pawl_inference.engine.settings import EngineSettings
from pawl_inference.engine.slots import SlotPool
from pawl_shared import logging

# A bound step costs about 2 ms to make; batches of a stable load repeat few shapes.
_STEPS_KEPT = 48


class DecodeLoop:
    """One thread that reads prompts piece by piece and decodes all ready rows together.

    The result of a row does not depend on its neighbours: prompts are read one row at a time, cut where that changes
    nothing (see `pieces`), and decode steps are exact for every batch size.
    """

    def __init__(self, graph: ServingGraph, slots: SlotPool, settings: EngineSettings) -> None:
        self._graph, self._slots, self._settings = graph, slots, settings
        self._cache = new_cache(graph, settings.max_batch, graph.spec.context_length)
        kept_bytes = 0 if graph.provider.on_device else settings.prefix_cache_bytes  # it is made of numpy's memory
        self._prefix = PrefixCache(self._cache, kept_bytes)
        chunk, spec = settings.prefill_chunk, graph.spec
        self._cuts = {adapted: pieces.of(spec, chunk, adapted=adapted) for adapted in (False, True)}
        # A request that comes in a quiet moment waits for one part at most: 25 ms with SmolLM2-135M on two cores.
        self._ahead = {adapted: dataclasses.replace(cuts, longest=cuts.grain) for adapted, cuts in self._cuts.items()}
        self._rows = Rows(self._cache, settings.max_batch)
        self._turns = NextTurns(settings.max_batch)
        self._waiting: FairQueue[Sequence] = FairQueue(settings.max_waiting)
        self._wake = threading.Condition()
        self.closing = False
        self._steps: OrderedDict[tuple[int, ...], Step] = OrderedDict()
        self._logits = new_logits(graph.spec, settings.max_batch)
        self.steps_run = 0
        self.tokens_made = 0
        self._thread = threading.Thread(target=self._run, name="pawl-decode", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def active(self) -> int:
        return len(self._rows.members)

    def submit(self, sequence: Sequence) -> bool:
        """Queue a request; False when the queue is full."""
        with self._wake:
            if self.closing or not self._waiting.push(sequence, sequence.request.share, self._rows.free):
                return False
            self._wake.notify()
        return True

    def close(self) -> None:
        """Cancel everything and end the thread."""
        with self._wake:
            self.closing = True
            self._wake.notify()
        self._thread.join()

    def close_if_idle(self) -> bool:
        """End the thread unless something waits or runs; whether it has. Nothing can come in between."""
        with self._wake:
            if self._waiting or self._rows.members:
                return False
            self.closing = True
            self._wake.notify()
        self._thread.join()
        return True

    def _run(self) -> None:
        while self._admit():
            try:
                self._settle()  # who came too late is not read
                self._read_prompt()
                self._settle()
                self._decode()
                self._read_ahead()
            except Exception as error:  # one bad step must not end serving; its requests get the error
                logging.get(__name__).exception("engine.step_failed")
                for sequence in self._rows.members:
                    if sequence.finished is None:
                        sequence.fail(f"the decode step failed: {error}")
            self._settle()
        self._cancel_all()

    def _admit(self) -> bool:
        """Wait for work and seat waiting requests; False when closing."""
        with self._wake:
            self._wake.wait_for(
                lambda: self.closing or self._waiting or self._rows.members, self._turns.wait(time.monotonic())
            )
            while self._waiting and self._rows.free and not self.closing:
                sequence = self._waiting.pop()
                sequence.seated = time.monotonic()
                self._rows.add(sequence)
                self._turns.interrupt(sequence.seated)  # here: one of one token is gone before the loop ends
            return not self.closing

    def _read_prompt(self) -> None:
        row = self._rows.next_prompt()
        if row is None:
            return
        sequence = self._rows.members[row]
        logits = self._read(sequence, row, sequence.slot, self._cuts[sequence.slot is not None])
        if not sequence.prompt_left:
            self._rows.start_decoding(row)
            self._accept(sequence, logits)

    def _read_ahead(self) -> None:
        now = time.monotonic()
        if self._rows.members:
            self._turns.rest_from(now)
        elif (turn := self._turns.take(now)) is not None:
            try:
                slot = self._slots.hold(turn.version)
            except UnknownVersionError:  # it serves no more, and has no next turn
                return
            try:
                self._read(turn, 0, slot, self._ahead[slot is not None])
            finally:
                self._slots.release(slot)
            self._turns.go_on(turn)

    def _read(self, reading: Reading, row: int, slot: int | None, cuts: Cuts) -> Logits:
        """The next piece of a prompt, into a row; logits after it."""
        self._prefix.resume(reading, row, cuts)
        start, stop = cuts.piece(len(reading.prompt), reading.past)
        places = self._slots.places([slot])
        step = self._step(row, 1, places)
        logits = step.run(np.array([reading.prompt[start:stop]], np.int64), [start], places)
        reading.past = stop
        self._prefix.keep(reading, row, cuts)
        self.steps_run += 1
        after: Logits = logits[0]
        return after

    def _decode(self) -> None:
        batch = self._rows.decoders()
        if not batch:
            return
        places = self._slots.places([sequence.slot for sequence in batch])
        step = self._step(0, len(batch), places)
        ids = np.array([[sequence.tokens[-1]] for sequence in batch], np.int64)
        logits = step.run(ids, [sequence.past for sequence in batch], places)
        self.steps_run += 1
        for row, sequence in enumerate(batch):
            sequence.past += 1
            self._accept(sequence, logits[row])

    def _accept(self, sequence: Sequence, logits: Logits) -> None:
        sequence.accept(logits)
        self.tokens_made += 1

    def _settle(self) -> None:
        """End what was cancelled or is out of time, and free the rows of what has ended."""
        now = time.monotonic()
        with self._wake:
            gone = self._waiting.drop(lambda sequence: sequence.cancelled or now >= sequence.deadline)
        for sequence in [*gone, *self._rows.members]:
            sequence.end_early(now)
        for sequence in self._rows.drop_finished():
            if self._prefix.on:
                self._turns.add(sequence, self._cuts[sequence.slot is not None])

    def _cancel_all(self) -> None:
        for sequence in [*self._waiting, *self._rows.members]:
            sequence.cancelled = True
        self._settle()

    def _step(self, row: int, rows: int, places: list[int | None]) -> Step:
        used = [place for place in places if place is not None] or [0]
        span = (min(used), max(used))
        key = (row, rows, *span)
        if key not in self._steps:
            self._steps[key] = new_step(self._graph, self._cache, self._slots, row, rows, span, self._logits)
            if len(self._steps) > _STEPS_KEPT:
                self._steps.popitem(last=False)
        self._steps.move_to_end(key)
        return self._steps[key]
