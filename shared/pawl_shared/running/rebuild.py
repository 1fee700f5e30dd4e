"""Decisions made again from the log alone.

A service gives its folds; they read their topics from the beginning, on a store in memory and in a consumer group of
their own, by the same runner and in the same order as when they decided. Nothing is published and no effect is begun.

What is held in memory are the decisions, the folds' states, and what a service itself remembers of what it has seen,
however long the log is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from pawl_shared.buses.port import Bus, Partition, Record
from pawl_shared.codec import decode
from pawl_shared.errors import DecodeError
from pawl_shared.events import Event
from pawl_shared.running.collector import SeldomCollected
from pawl_shared.running.fold import Fold
from pawl_shared.running.runner import Pace, Runner
from pawl_shared.stores.memory import MemoryStore
from pawl_shared.stores.port import Commit, Effect, Seen
from pawl_shared.stores.seen_hours import SeenHours
from pawl_shared.topics import topic_of

BEGINNING = datetime.min.replace(tzinfo=UTC)

Progress = Callable[[int], None]
Decisions = dict[UUID, Event]


@dataclass
class Rebuilt:
    """What was decided again. standing: what the log had when the replay began; read: those causes of it that the
    replay has met."""

    standing: Decisions
    again: Decisions = field(default_factory=dict)
    read: set[UUID] = field(default_factory=set)
    records: int = 0


class _Recorder(MemoryStore):
    """Keeps what would be decided, and owes nothing to anybody. `now`: when the latest record arrived."""

    def __init__(self, rebuilt: Rebuilt, plan: Plan, owed: Callable[[Effect], None]) -> None:
        super().__init__()
        self.now = BEGINNING
        self._rebuilt, self._decided, self._owed = rebuilt, tuple(plan.decided), owed
        causes = {event.cause for event in rebuilt.standing.values() if event.cause is not None}
        self._causes = {str(cause).encode(): cause for cause in causes}
        self._known = SeenHours(plan.kept)

    def meet(self, records: Sequence[Record]) -> None:
        """These are handled next."""
        self.now = records[-1].appended
        self._rebuilt.records += len(records)
        identities = (value for record in records for name, value in record.headers if name == "ce_id")
        self._rebuilt.read.update(self._causes[identity] for identity in identities if identity in self._causes)

    def seen(self, ids: Sequence[Seen]) -> set[Seen]:
        return {each for each in ids if each in self._known}

    def commit(self, commit: Commit) -> None:
        super().commit(Commit(commit.offsets, commit.states))
        self._known.take([*self._known.added(commit.seen), *self._known.upkeep(self.now)])
        for message in commit.messages:
            record = Record(message.topic, 0, 0, BEGINNING, message.key, message.value, message.headers)
            event = decode(record)
            if isinstance(event, self._decided):
                self._rebuilt.again[event.id] = event
        for effect in commit.effects:
            self._owed(effect)


@dataclass(frozen=True)
class Moved:
    """A record that was handled in another's place, before its turn: after all that the service had handled then, which
    is everything before these offsets (0 where there is none)."""

    record: Record
    after: Mapping[Partition, int]

    def precedes(self, record: Record) -> bool:
        """Whether it was handled before this one, which is the next in order or has been so."""
        return record.offset >= self.after.get(Partition(record.topic, record.partition), 0)


class _Replayer(Runner):
    """Decides, and does nothing about it."""

    def __init__(self, name: str, bus: Bus, store: _Recorder, plan: Plan, pace: Pace) -> None:
        super().__init__(name, name, "replay", bus, store, plan.folds, pace=pace)
        self._recorder = store
        self._moved = deque(plan.moved)

    def handle(self, records: Sequence[Record]) -> None:
        """In the order in which they were handled. One that was moved is met again in its own place, and known."""
        start = 0
        for place, record in enumerate(records):
            while self._moved and self._moved[0].precedes(record):
                self._handle(records[start:place])
                start = place
                batch = self._folding.fold(self._folding.read([self._moved.popleft().record]))
                batch.offsets.clear()
                self._committing.commit(batch.commit(), lambda: None)
        self._handle(records[start:])

    def _handle(self, records: Sequence[Record]) -> None:
        if records:
            self._recorder.meet(records)
        super().handle(records)

    def _begin(self, effects: Iterable[Effect]) -> None:
        """What was owed was done long ago."""


@dataclass(frozen=True)
class Plan:
    """What a service's replay is made of.

    Args:
        service: its name.
        folds: as it has them; what they know of where they run does not matter.
        decided: types of the events that are its decisions.
        kept: how long it remembers what it has seen; none: for ever.
        moved: what was handled before its turn, in the order in which it was.
    """

    service: str
    folds: Sequence[Fold[Any]]
    decided: Collection[type[Event]]
    kept: timedelta | None = None
    moved: Sequence[Moved] = ()


def rebuild(
    bus: Bus,
    plan: Plan,
    owed: Callable[[Effect], None] = lambda _: None,
    progress: Progress = lambda _: None,
    pace: Pace | None = None,
) -> Rebuilt:
    """Everything that a service's folds decide on the log up to its end. Raises BusError.

    Args:
        owed: told each effect that the folds ask for.
        progress: told how many records were read.
    """
    rebuilt = Rebuilt(logged(bus, plan.decided))
    runner = _Replayer(f"{plan.service}-replay-{uuid4()}", bus, _Recorder(rebuilt, plan, owed), plan, pace or Pace())
    try:
        runner.start()
        with SeldomCollected() as collector:
            while runner.turn() or not runner.at_end():
                progress(rebuilt.records)
                collector.now()
        return rebuilt
    finally:
        runner.close()


def logged(bus: Bus, kinds: Collection[type[Event]]) -> Decisions:
    """The events of these types on the log, the first copy of each."""
    found: Decisions = {}
    for topic in dict.fromkeys(topic_of(kind).name for kind in kinds):
        for record in bus.read(topic):
            try:
                event = decode(record) if record is not None else None
            except DecodeError:
                continue  # not ours to report: it is a dead letter
            if event is not None and isinstance(event, tuple(kinds)):
                found.setdefault(event.id, event)
    return found
