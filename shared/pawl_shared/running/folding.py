"""A batch of records through the folds: what it changes, without committing anything."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from pawl_shared import metrics
from pawl_shared.buses.port import Partition, Record
from pawl_shared.codec import decode_traced, encode, event_type, first_of_each
from pawl_shared.dead_letter import RETRY_OF, dead_letter, is_retry
from pawl_shared.errors import DecodeError
from pawl_shared.events import DeadLetter, Event, Tick
from pawl_shared.running.fold import Delivery, Fold, Step, TimedFold
from pawl_shared.running.ticks import TICKS, LatestTick, is_copy
from pawl_shared.stores.port import Commit, Effect, Row, Seen, StateKey, StoredState, TransactionalStore


class Known(NamedTuple):
    """A state as a fold gave it; none: the key is forgotten."""

    state: Any
    due: datetime | None = None


@dataclass
class Batch:
    """What one batch changes, before it is committed. `kinds`: for each fold, how its states are written and read."""

    kinds: Mapping[str, TypeAdapter[Any]]
    offsets: dict[Partition, int] = field(default_factory=dict)
    states: dict[StateKey, Known] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    events: list[tuple[Event, str | None]] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # by topic and what became of a record

    def mark(self) -> tuple[int, int, int]:
        """Where the lists end now."""
        return len(self.rows), len(self.events), len(self.effects)

    def undo(self, mark: tuple[int, int, int], states: Sequence[tuple[StateKey, Known | None]]) -> None:
        """Take back what came after a mark; `states` are those that were replaced since, with what they were."""
        rows, events, effects = mark
        del self.rows[rows:], self.events[events:], self.effects[effects:]
        for place, known in reversed(states):
            if known is None:
                del self.states[place]
            else:
                self.states[place] = known

    def commit(self) -> Commit:
        """As the store takes it."""
        return Commit(
            offsets=self.offsets,
            states={place: self._stored(place, known) for place, known in self.states.items()},
            seen=self.seen,
            rows=self.rows,
            messages=[encode(event, trace) for event, trace in self.events],
            effects=self.effects,
        )

    def count(self, service: str) -> None:
        """Once committed. All at once, since a labelled counter costs as much as parsing a small event."""
        for (topic, outcome), number in self.outcomes.items():
            metrics.RECORDS.labels(service, topic, outcome).inc(number)

    def _stored(self, place: StateKey, known: Known) -> StoredState | None:
        if known.state is None:
            return None
        return StoredState(self.kinds[place.fold].dump_json(known.state).decode(), known.due)


NOTHING = Known(None)
KEPT = 50_000  # states kept in memory as folds gave them; one of a session takes some 1.5 KB
_Target = tuple[Fold[Any], Sequence[StateKey]]


class Reading(NamedTuple):
    """A record as it was decoded, and the states that each fold has for it; no delivery: it could not be, and why."""

    record: Record
    delivery: Delivery | None
    seen: Seen | None = None
    targets: list[_Target] | None = None
    reason: str = ""


class Folding:
    """Folds batches on what a store knows, and on what the batch before changes: its commit may be on its way still.

    Args:
        service: names the metrics and the dead letters.
        source: who publishes, in events.
        log: where failures are told.
    """

    def __init__(
        self, service: str, source: str, store: TransactionalStore, folds: Sequence[Fold[Any]], log: Any
    ) -> None:
        self._service, self._source, self._store, self._folds, self._log = service, source, store, tuple(folds), log
        self._kinds = {fold.name: TypeAdapter(fold.state) for fold in folds} | {TICKS: TypeAdapter(LatestTick)}
        self._by_topic = {t: [f for f in folds if t in f.topics] for fold in folds for t in fold.topics}
        self._before: dict[StateKey, Known] = {}  # what the store holds of what was used lately, oldest first
        # Of the batch before; its caller has that of the one before it committed by now.
        self._latest: Mapping[StateKey, Known] = {}
        self._latest_seen: set[Seen] = set()
        self._replaced: list[tuple[StateKey, Known | None]] = []  # states of the batch, before the present record

    def read(self, records: Iterable[Record]) -> list[Reading]:
        """Decode records; the store is not asked."""
        return [self._read(record) for record in records]

    def fold(self, readings: Sequence[Reading]) -> Batch:
        """What these change, in the order that they have here. What cannot be handled becomes a dead letter.

        It is to be committed after the batch before, or not at all.
        """
        batch = Batch(self._kinds)
        fresh = self._fresh(readings)
        unseen = fresh.copy()
        self._load(readings)
        for reading in readings:
            if reading.delivery is None:
                self._bury(reading.record, reading.reason, batch)
            else:
                self._deliver(reading, reading.delivery, fresh, batch)
        batch.offsets = _offsets(readings)
        self._keep(batch.states)
        self._latest, self._latest_seen = batch.states, unseen - fresh
        return batch

    def forget(self) -> None:
        """Whatever the store holds is asked for again, all batches being committed: somebody else may have written."""
        self._before.clear()
        self._latest, self._latest_seen = {}, set()

    def _keep(self, states: Mapping[StateKey, Known]) -> None:
        """These are what the store holds once the batch is committed."""
        for place, known in states.items():
            self._before.pop(place, None)
            if known.state is not None:
                self._before[place] = known
        for place in list(itertools.islice(self._before, max(0, len(self._before) - KEPT))):
            del self._before[place]

    def _read(self, record: Record) -> Reading:
        headers = first_of_each(record.headers)
        if RETRY_OF in headers and is_retry(record):
            metrics.RETRIES.labels(self._service, record.topic).inc()
        try:
            event, trace = decode_traced(record, headers)
        except DecodeError as error:
            return Reading(record, None, reason=str(error))
        delivery = Delivery(event, record.appended, record.topic, record.partition, record.offset, trace)
        return Reading(record, delivery, None if isinstance(event, Tick) else seen_as(event), self._targets(delivery))

    def _targets(self, delivery: Delivery) -> list[_Target] | None:
        """The states that an event concerns; none where a fold cannot say: its step will, and be buried."""
        event, targets = delivery.event, list[_Target]()
        try:
            for fold in self._by_topic.get(delivery.topic, ()):
                if (keys := fold.keys(event)) or isinstance(event, Tick):
                    targets.append((fold, [StateKey(fold.name, key) for key in keys]))
        except Exception:
            return None
        return targets

    def _fresh(self, readings: Sequence[Reading]) -> set[Seen]:
        """Those that were not handled; Ticks are not among them."""
        ids = [reading.seen for reading in readings if reading.seen is not None]
        return set(ids) - self._store.seen(ids) - self._latest_seen if ids else set()

    def _deliver(self, reading: Reading, delivery: Delivery, fresh: set[Seen], batch: Batch) -> None:
        record, seen, event = reading.record, reading.seen, delivery.event
        if self._is_old(event, record, batch) if isinstance(event, Tick) else seen not in fresh:
            batch.outcomes[record.topic, "duplicate"] += 1
            return
        mark = batch.mark()
        self._replaced.clear()
        try:
            targets = reading.targets
            if targets is None:  # fails again, and says why
                targets = [(f, [StateKey(f.name, k) for k in f.keys(delivery.event)]) for f in self._folds]
            for fold, places in targets:
                self._step(fold, places, delivery, batch)
        except Exception as error:  # a fold that fails on one event must not stop the others
            batch.undo(mark, self._replaced)
            self._log.exception("a fold failed", topic=record.topic, offset=record.offset)
            self._bury(record, f"{type(error).__name__}: {error}", batch)
            return
        batch.outcomes[record.topic, "handled"] += 1
        if isinstance(event, Tick):
            batch.states[StateKey(TICKS, event.model)] = Known(LatestTick.of(event, record.appended))
        elif seen is not None:
            batch.seen.append(seen)
            fresh.discard(seen)  # of two copies in one batch the second is a duplicate

    def _is_old(self, tick: Tick, record: Record, batch: Batch) -> bool:
        return is_copy(tick, record.appended, self._current(StateKey(TICKS, tick.model), batch).state)

    def _load(self, readings: Sequence[Reading]) -> None:
        """The states that a batch concerns, in one query."""
        before, latest = self._before, self._latest
        places = {
            place
            for reading in readings
            for _, keys in reading.targets or ()
            for place in keys
            if place not in before and place not in latest
        }
        events = (reading.delivery.event for reading in readings if reading.delivery is not None)
        places |= {StateKey(TICKS, event.model) for event in events if isinstance(event, Tick)}
        self._load_these(places)

    def _load_these(self, places: Iterable[StateKey]) -> None:
        unknown = [place for place in places if place not in self._before and place not in self._latest]
        stored = self._store.load(unknown) if unknown else {}
        for place, found in stored.items():
            self._before[place] = Known(self._kinds[place.fold].validate_json(found.value), found.due)

    def _step(self, fold: Fold[Any], places: Sequence[StateKey], delivery: Delivery, batch: Batch) -> None:
        for place in places:
            current = self._current(place, batch)
            self._apply(place, current, delivery, batch, fold.step(place.key, current.state, delivery))
        if isinstance(delivery.event, Tick) and isinstance(fold, TimedFold):
            for place in self._due(fold, delivery.at, batch):
                current = self._current(place, batch)
                self._apply(place, current, delivery, batch, fold.timer(place.key, current.state, delivery))

    def _due(self, fold: Fold[Any], now: datetime, batch: Batch) -> list[StateKey]:
        """What is due, as stored or as changed since; the earliest first, however it was cut in batches."""
        changes = itertools.chain(self._latest.items(), batch.states.items())
        changed = {p.key: known.due for p, known in changes if p.fold == fold.name}
        places = [StateKey(fold.name, key) for key in self._store.due(fold.name, now) if key not in changed]
        self._load_these(places)
        stored_due = {place.key: self._before[place].due for place in places if place in self._before}
        due = [(at, key) for key, at in (stored_due | changed).items() if at is not None and at <= now]
        return [StateKey(fold.name, key) for _, key in sorted(due)]

    def _current(self, place: StateKey, batch: Batch) -> Known:
        return batch.states.get(place) or self._latest.get(place) or self._before.get(place, NOTHING)

    def _apply(self, place: StateKey, current: Known, delivery: Delivery, batch: Batch, step: Step[Any]) -> None:
        known = Known(step.state, step.due)
        # Most Ticks change nothing; writing that would be most of an idle service's work. Other events mostly do, and
        # comparing two states costs as much as half the fold.
        same = known == current if isinstance(delivery.event, Tick) else known.state is current.state is None
        if not same:
            self._replaced.append((place, batch.states.get(place)))
            batch.states[place] = known
        batch.rows += step.rows
        if step.events or step.effects:  # of few records
            batch.events += [(event, delivery.traceparent) for event in step.events]
            batch.effects += step.effects

    def _bury(self, record: Record, reason: str, batch: Batch) -> None:
        batch.outcomes[record.topic, "dead"] += 1
        if event_type(record) == DeadLetter.TYPE:  # burying it again would never end
            self._log.error("a dead letter could not be handled", offset=record.offset, reason=reason)
            return
        metrics.DEAD_LETTERS.labels(self._service, record.topic).inc()
        self._log.warning("dead letter", topic=record.topic, offset=record.offset, reason=reason)
        batch.events.append((dead_letter(record, self._service, self._source, reason), None))


def _offsets(readings: Iterable[Reading]) -> dict[Partition, int]:
    """Where each partition goes on after these."""
    found: dict[tuple[str, int], int] = {}
    for reading in readings:
        record = reading.record
        part, offset = (record.topic, record.partition), record.offset + 1
        if offset > found.get(part, 0):
            found[part] = offset
    return {Partition(*part): offset for part, offset in found.items()}


def seen_as(event: Event) -> Seen:
    """What says that an event was handled."""
    time = event.time
    return Seen(_hour(time.year, time.month, time.day, time.hour), event.id)


@lru_cache(maxsize=1024)
def _hour(year: int, month: int, day: int, hour: int) -> datetime:
    """One object an hour: datetimes keep their hash, and computing it takes longer than all else here."""
    return datetime(year, month, day, hour, tzinfo=UTC)  # as all events' times
