"""The runner: all exactly-once work of Pawl, once.

It feeds events to pure folds and commits what they answer - state, rows, outgoing events, owed effects - together with
the offsets and the ids that were read, through a transactional store. A crash before the commit changes nothing; after
it, nothing is done twice. What cannot be read, or what a fold cannot handle, becomes a dead letter and stops nothing.

Effects are work outside the process (train, evaluate, freeze a snapshot). A fold only says that one is owed; it is
begun after the commit, begun again after a restart, and ends in events with derived ids: running it twice is harmless.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from pawl_shared import logging, metrics
from pawl_shared.bus import Bus, Consumer, Partition, Producer, Record
from pawl_shared.codec import decode, encode, event_type, header
from pawl_shared.dead_letter import dead_letter, is_retry
from pawl_shared.effects import EffectHandler, EffectRunner
from pawl_shared.errors import DecodeError
from pawl_shared.events import DeadLetter, Event, Tick
from pawl_shared.stores.port import Commit, Effect, Row, Seen, StateKey, StoredState, TransactionalStore

S = TypeVar("S", bound=BaseModel)

OUTBOX_BATCH = 1_000
FULL_BATCH = 5_000  # records; a larger batch is committed no faster per record


@dataclass(frozen=True)
class Delivery:
    """An event with its place. `at` is the broker's time of its arrival, the only `now` that folds know."""

    event: Event
    at: datetime
    topic: str
    partition: int
    offset: int
    traceparent: str | None = None


@dataclass(frozen=True)
class Step(Generic[S]):
    """What a fold answers. `due`: when timer() is to be called for this key, by the time of a Tick."""

    state: S | None
    events: tuple[Event, ...] = ()
    rows: tuple[Row, ...] = ()
    effects: tuple[Effect, ...] = ()
    due: datetime | None = None


class Fold(Protocol[S]):
    """A pure decision: no I/O, no clock, no randomness but what the event's ids give.

    `topics` are those it reads; `state` is the pydantic model of its state, kept by key.
    """

    name: str
    topics: tuple[str, ...]
    state: type[S]

    def keys(self, event: Event) -> Sequence[str]:
        """The keys of the state that the event concerns; none: the event is of no interest."""

    def step(self, key: str, state: S | None, delivery: Delivery) -> Step[S]:
        """The next state, and what follows. No state: this key is new."""

    def timer(self, key: str, state: S, tick: Delivery) -> Step[S]:
        """Called when a Tick's time has passed the key's `due`."""


@dataclass
class _Batch:
    """What one batch changes, before it is committed. `loaded` is what the store knew before."""

    loaded: dict[StateKey, StoredState] = field(default_factory=dict)
    offsets: dict[Partition, int] = field(default_factory=dict)
    states: dict[StateKey, StoredState | None] = field(default_factory=dict)
    seen: dict[Seen, None] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    events: list[tuple[Event, str | None]] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)


class Runner:
    """Runs folds on one consumer, in one thread.

    Args:
        service: names the consumer group, the metrics and the dead letters.
        source: who publishes, in events (service and instance).
        instance: this member of the group, the same after a restart.
        handlers: for each kind of effect, what does the work (in a thread of its own; one at a time for each kind).
        gather: seconds from a batch's first record to its commit, in which further records join it.
    """

    def __init__(
        self,
        service: str,
        source: str,
        instance: str,
        bus: Bus,
        store: TransactionalStore,
        folds: Sequence[Fold[Any]],
        handlers: Mapping[str, EffectHandler] | None = None,
        on_ready: Callable[[], None] = lambda: None,
        gather: float = 0.0,
    ) -> None:
        self.service, self.source, self._instance = service, source, instance
        self._bus, self._store, self._folds = bus, store, tuple(folds)
        self.topics = tuple(dict.fromkeys(topic for fold in folds for topic in fold.topics))
        self._handlers = dict(handlers or {})
        self._on_ready, self._gather = on_ready, gather
        self._gathered: list[Record] = []
        self._log = logging.get(f"pawl.{service}")
        self._producer: Producer | None = None
        self._effects: EffectRunner | None = None

    # ------------------------------------------------------------ life

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. Raises FencedError or BusError when it cannot go on; a supervisor restarts it."""
        self._store.open()
        self._producer = self._bus.producer(self.source)
        self._effects = EffectRunner(self._handlers, self._publish_progress, self._log)
        consumer = self._bus.consumer(
            f"pawl-{self.service}", self._instance, self.topics, self._assigned, self._revoked
        )
        try:
            self._drain()
            for effect in self._store.effects():
                self._effects.begin(effect)
            self._on_ready()
            while not stop.is_set():
                self.handle(self._poll(consumer))
                self._finish_effects()
                metrics.LAG.labels(self.service).set(consumer.lag())
        finally:
            self._effects.close()
            with contextlib.suppress(Exception):
                consumer.close()
            self._producer.close()
            self._store.close()

    def _poll(self, consumer: Consumer) -> list[Record]:
        self._gathered = list(consumer.poll(0.1))
        give_up = time.monotonic() + self._gather
        while 0 < len(self._gathered) < FULL_BATCH and (left := give_up - time.monotonic()) > 0:
            more = consumer.poll(left)
            self._gathered += more
        return self._gathered

    def _assigned(self, partitions: Collection[Partition]) -> dict[Partition, int | None]:
        self._drop(partitions)
        known = self._store.positions(list(partitions))
        return {part: known.get(part) for part in partitions}

    def _revoked(self, partitions: Collection[Partition]) -> None:
        self._drop(partitions)

    def _drop(self, partitions: Collection[Partition]) -> None:
        """What was read of these and not committed will be read again, here or by another member."""
        self._gathered = [r for r in self._gathered if Partition(r.topic, r.partition) not in partitions]

    # ------------------------------------------------------------ one batch

    def handle(self, records: Sequence[Record]) -> None:
        """Fold a batch and commit it."""
        if not records:
            return
        # By arrival across partitions, so that a Tick does not overtake what came before it.
        ordered = sorted(records, key=lambda record: (record.appended, record.topic, record.partition, record.offset))
        batch = _Batch()
        deliveries = [self._decode(record, batch) for record in ordered]
        readable = [delivery for delivery in deliveries if delivery is not None]
        fresh = self._fresh(readable)
        batch.loaded = self._load(readable)
        for delivery, record in zip(deliveries, ordered, strict=True):
            if delivery is not None:
                self._deliver(delivery, record, fresh, batch)
            part = Partition(record.topic, record.partition)
            batch.offsets[part] = max(batch.offsets.get(part, 0), record.offset + 1)
        self._commit(batch)

    def _decode(self, record: Record, batch: _Batch) -> Delivery | None:
        if is_retry(record):
            metrics.RETRIES.labels(self.service, record.topic).inc()
        try:
            event = decode(record)
            trace = header(record.headers, "traceparent")
        except DecodeError as error:
            self._bury(record, str(error), batch)
            return None
        return Delivery(event, record.appended, record.topic, record.partition, record.offset, trace)

    def _fresh(self, deliveries: Sequence[Delivery]) -> set[Seen]:
        ids = [_seen(delivery.event) for delivery in deliveries]
        return set(ids) - self._store.seen(ids) if ids else set()

    def _deliver(self, delivery: Delivery, record: Record, fresh: set[Seen], batch: _Batch) -> None:
        seen = _seen(delivery.event)
        if seen not in fresh or seen in batch.seen:
            metrics.RECORDS.labels(self.service, record.topic, "duplicate").inc()
            return
        changes = _Batch(loaded=batch.loaded, states=dict(batch.states))
        try:
            for fold in self._folds:
                if delivery.topic in fold.topics:
                    self._step(fold, delivery, changes)
        except Exception as error:  # a fold that fails on one event must not stop the others
            self._log.exception("a fold failed", topic=record.topic, offset=record.offset)
            self._bury(record, f"{type(error).__name__}: {error}", batch)
            return
        metrics.RECORDS.labels(self.service, record.topic, "handled").inc()
        batch.seen[seen] = None
        batch.states = changes.states
        batch.rows += changes.rows
        batch.events += changes.events
        batch.effects += changes.effects

    def _load(self, deliveries: Sequence[Delivery]) -> dict[StateKey, StoredState]:
        """The states that a batch concerns, in one query; a fold that cannot name its keys is found out by its step."""
        places: dict[StateKey, None] = {}
        for delivery in deliveries:
            for fold in self._folds:
                if delivery.topic in fold.topics:
                    with contextlib.suppress(Exception):
                        places |= {StateKey(fold.name, key): None for key in fold.keys(delivery.event)}
        return self._store.load(list(places)) if places else {}

    def _step(self, fold: Fold[Any], delivery: Delivery, batch: _Batch) -> None:
        for key in fold.keys(delivery.event):
            state = self._state(fold, batch.states.get(StateKey(fold.name, key), self._known(fold, key, batch)))
            self._apply(fold, key, delivery, batch, fold.step(key, state, delivery))
        if isinstance(delivery.event, Tick):
            for key, stored in self._due(fold, delivery.at, batch).items():
                self._apply(fold, key, delivery, batch, fold.timer(key, self._state(fold, stored), delivery))

    def _due(self, fold: Fold[Any], now: datetime, batch: _Batch) -> dict[str, StoredState]:
        """What is due: as stored, unless this batch has changed it."""
        changed = {place.key: state for place, state in batch.states.items() if place.fold == fold.name}
        places = [StateKey(fold.name, key) for key in self._store.due(fold.name, now) if key not in changed]
        stored = self._store.load(places) if places else {}
        batch.loaded.update(stored)
        due = {place.key: stored[place] for place in places if place in stored}
        return due | {key: state for key, state in changed.items() if state and state.due and state.due <= now}

    @staticmethod
    def _known(fold: Fold[Any], key: str, batch: _Batch) -> StoredState | None:
        return batch.loaded.get(StateKey(fold.name, key))

    @staticmethod
    def _state(fold: Fold[Any], stored: StoredState | None) -> Any:
        return None if stored is None else fold.state.model_validate_json(stored.value)

    @classmethod
    def _apply(cls, fold: Fold[Any], key: str, delivery: Delivery, batch: _Batch, step: Step[Any]) -> None:
        place = StateKey(fold.name, key)
        stored = None if step.state is None else StoredState(step.state.model_dump_json(), step.due)
        # Most Ticks change nothing; writing that would be most of an idle service's work.
        if place in batch.states or stored != cls._known(fold, key, batch):
            batch.states[place] = stored
        batch.rows += step.rows
        batch.events += [(event, delivery.traceparent) for event in step.events]
        batch.effects += step.effects

    def _bury(self, record: Record, reason: str, batch: _Batch) -> None:
        metrics.RECORDS.labels(self.service, record.topic, "dead").inc()
        if event_type(record) == DeadLetter.TYPE:  # burying it again would never end
            self._log.error("a dead letter could not be handled", offset=record.offset, reason=reason)
            return
        metrics.DEAD_LETTERS.labels(self.service, record.topic).inc()
        self._log.warning("dead letter", topic=record.topic, offset=record.offset, reason=reason)
        batch.events.append((dead_letter(record, self.service, self.source, reason), None))

    # ------------------------------------------------------------ commit and what follows

    def _commit(self, batch: _Batch) -> None:
        began = time.perf_counter()
        self._store.commit(
            Commit(
                offsets=batch.offsets,
                states=batch.states,
                seen=list(batch.seen),
                rows=batch.rows,
                messages=[encode(event, trace) for event, trace in batch.events],
                effects=batch.effects,
            )
        )
        metrics.COMMIT_SECONDS.labels(self.service).observe(time.perf_counter() - began)
        self._drain()
        for effect in batch.effects:
            if self._effects is not None:
                self._effects.begin(effect)

    def _drain(self) -> None:
        """Send what the store has committed but the broker does not have yet, in order."""
        assert self._producer is not None, "run() has made it"
        while waiting := self._store.outgoing(OUTBOX_BATCH):
            for future in [self._producer.send(message) for _, message in waiting]:
                future.result(timeout=120)
            self._store.sent(waiting[-1][0])

    def _finish_effects(self) -> None:
        assert self._effects is not None, "run() has made it"
        for done in self._effects.finished():
            messages = [encode(event) for event in done.events]
            self._store.commit(Commit(messages=messages, done=[done.effect.id]))
            self._drain()

    def _publish_progress(self, events: Iterable[Event]) -> None:
        """Straight to the broker, outside any transaction: progress that gets lost is no harm."""
        assert self._producer is not None, "run() has made it"
        for event in events:
            self._producer.send(encode(event))


def _seen(event: Event) -> Seen:
    return Seen(event.time.astimezone(UTC).replace(minute=0, second=0, microsecond=0), event.id)
