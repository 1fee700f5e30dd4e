"""A batch of records through the folds: what it changes, without committing anything."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import BaseModel

from pawl_shared import metrics
from pawl_shared.bus import Partition, Record
from pawl_shared.codec import decode, encode, event_type, header
from pawl_shared.dead_letter import dead_letter, is_retry
from pawl_shared.errors import DecodeError
from pawl_shared.events import DeadLetter, Event, Tick
from pawl_shared.fold import Delivery, Fold, Step
from pawl_shared.stores.port import Commit, Effect, Row, Seen, StateKey, StoredState, TransactionalStore


class Known(NamedTuple):
    """A state as a fold gave it; none: the key is forgotten."""

    state: BaseModel | None
    due: datetime | None = None


@dataclass
class Batch:
    """What one batch changes, before it is committed."""

    offsets: dict[Partition, int] = field(default_factory=dict)
    states: dict[StateKey, Known] = field(default_factory=dict)
    seen: dict[Seen, None] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    events: list[tuple[Event, str | None]] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    def take(self, other: Batch) -> None:
        """Add what one record has changed."""
        self.states |= other.states
        self.rows += other.rows
        self.events += other.events
        self.effects += other.effects

    def commit(self) -> Commit:
        """As the store takes it."""
        return Commit(
            offsets=self.offsets,
            states={place: _stored(known) for place, known in self.states.items()},
            seen=list(self.seen),
            rows=self.rows,
            messages=[encode(event, trace) for event, trace in self.events],
            effects=self.effects,
        )


class Folding:
    """Folds batches on what a store knows.

    Args:
        service: names the metrics and the dead letters.
        source: who publishes, in events.
        log: where failures are told.
    """

    def __init__(
        self, service: str, source: str, store: TransactionalStore, folds: Sequence[Fold[Any]], log: Any
    ) -> None:
        self._service, self._source, self._store, self._folds, self._log = service, source, store, tuple(folds), log
        self._before: dict[StateKey, Known] = {}  # what the store holds of what this batch concerns

    def fold(self, records: Sequence[Record]) -> Batch:
        """What these records change, in the order that they have here. What cannot be handled becomes a dead letter."""
        batch, self._before = Batch(), {}
        deliveries = [self._decode(record, batch) for record in records]
        readable = [delivery for delivery in deliveries if delivery is not None]
        fresh = self._fresh(readable)
        self._load(readable)
        for delivery, record in zip(deliveries, records, strict=True):
            if delivery is not None:
                self._deliver(delivery, record, fresh, batch)
            part = Partition(record.topic, record.partition)
            batch.offsets[part] = max(batch.offsets.get(part, 0), record.offset + 1)
        return batch

    def _decode(self, record: Record, batch: Batch) -> Delivery | None:
        if is_retry(record):
            metrics.RETRIES.labels(self._service, record.topic).inc()
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

    def _deliver(self, delivery: Delivery, record: Record, fresh: set[Seen], batch: Batch) -> None:
        seen = _seen(delivery.event)
        if seen not in fresh or seen in batch.seen:
            metrics.RECORDS.labels(self._service, record.topic, "duplicate").inc()
            return
        changes = Batch()
        try:
            for fold in self._folds:
                if delivery.topic in fold.topics:
                    self._step(fold, delivery, batch, changes)
        except Exception as error:  # a fold that fails on one event must not stop the others
            self._log.exception("a fold failed", topic=record.topic, offset=record.offset)
            self._bury(record, f"{type(error).__name__}: {error}", batch)
            return
        metrics.RECORDS.labels(self._service, record.topic, "handled").inc()
        batch.seen[seen] = None
        batch.take(changes)

    def _load(self, deliveries: Sequence[Delivery]) -> None:
        """The states that a batch concerns, in one query; a fold that cannot name its keys is found out by its step."""
        places: dict[StateKey, Fold[Any]] = {}
        for delivery in deliveries:
            for fold in self._folds:
                if delivery.topic in fold.topics:
                    with contextlib.suppress(Exception):
                        places |= {StateKey(fold.name, key): fold for key in fold.keys(delivery.event)}
        stored = self._store.load(list(places)) if places else {}
        self._before |= {place: _known(places[place], found) for place, found in stored.items()}

    def _step(self, fold: Fold[Any], delivery: Delivery, batch: Batch, changes: Batch) -> None:
        for key in fold.keys(delivery.event):
            state = self._current(StateKey(fold.name, key), batch, changes).state
            self._apply(StateKey(fold.name, key), delivery, batch, changes, fold.step(key, state, delivery))
        if isinstance(delivery.event, Tick):
            for key in self._due(fold, delivery.at, batch, changes):
                state = self._current(StateKey(fold.name, key), batch, changes).state
                self._apply(StateKey(fold.name, key), delivery, batch, changes, fold.timer(key, state, delivery))

    def _due(self, fold: Fold[Any], now: datetime, batch: Batch, changes: Batch) -> list[str]:
        """What is due, as stored or as this batch has changed it; the earliest first, however it was cut in batches."""
        changed = {p.key: known.due for p, known in (batch.states | changes.states).items() if p.fold == fold.name}
        places = [StateKey(fold.name, key) for key in self._store.due(fold.name, now) if key not in changed]
        unknown = [place for place in places if place not in self._before]
        found = self._store.load(unknown) if unknown else {}
        self._before |= {place: _known(fold, stored) for place, stored in found.items()}
        stored_due = {place.key: self._before[place].due for place in places if place in self._before}
        due = [(at, key) for key, at in (stored_due | changed).items() if at is not None and at <= now]
        return [key for _, key in sorted(due)]

    def _current(self, place: StateKey, batch: Batch, changes: Batch) -> Known:
        nothing = Known(None)
        return changes.states.get(place) or batch.states.get(place) or self._before.get(place, nothing)

    def _apply(self, place: StateKey, delivery: Delivery, batch: Batch, changes: Batch, step: Step[Any]) -> None:
        known = Known(step.state, step.due)
        # Most Ticks change nothing; writing that would be most of an idle service's work.
        if known != self._current(place, batch, changes):
            changes.states[place] = known
        changes.rows += step.rows
        changes.events += [(event, delivery.traceparent) for event in step.events]
        changes.effects += step.effects

    def _bury(self, record: Record, reason: str, batch: Batch) -> None:
        metrics.RECORDS.labels(self._service, record.topic, "dead").inc()
        if event_type(record) == DeadLetter.TYPE:  # burying it again would never end
            self._log.error("a dead letter could not be handled", offset=record.offset, reason=reason)
            return
        metrics.DEAD_LETTERS.labels(self._service, record.topic).inc()
        self._log.warning("dead letter", topic=record.topic, offset=record.offset, reason=reason)
        batch.events.append((dead_letter(record, self._service, self._source, reason), None))


def _seen(event: Event) -> Seen:
    return Seen(event.time.astimezone(UTC).replace(minute=0, second=0, microsecond=0), event.id)


def _known(fold: Fold[Any], stored: StoredState) -> Known:
    return Known(fold.state.model_validate_json(stored.value), stored.due)


def _stored(known: Known) -> StoredState | None:
    return None if known.state is None else StoredState(known.state.model_dump_json(), known.due)
