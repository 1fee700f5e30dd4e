"""Replay: decisions made again from the log alone, and compared with those that are on it.

A service gives its folds; they read their topics from the beginning, on a store in memory and in a consumer group of
their own, by the same runner and in the same order as when they decided. Nothing is published and no effect is begun.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from pawl_shared import logging
from pawl_shared.bus import Bus, Record
from pawl_shared.codec import decode
from pawl_shared.collector import SeldomCollected
from pawl_shared.errors import BusError, DecodeError
from pawl_shared.events import Event
from pawl_shared.fold import Fold
from pawl_shared.runner import Pace, Runner
from pawl_shared.stores.memory import MemoryStore
from pawl_shared.stores.port import Commit, Effect
from pawl_shared.topics import topic_of

DIFFERENT = 3
"""Exit status of a replay that came out differently; 0: the same, 1: it could not be done."""

MISSING_SECONDS = 5.0
TELL_EVERY = 0.5
LISTED = 20

Progress = Callable[[int], None]


@dataclass
class Rebuilt:
    """What the folds answered: events and effects in order, and the ids of all that they have read."""

    events: list[Event] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    read: set[UUID] = field(default_factory=set)
    records: int = 0


class _Recorder(MemoryStore):
    """Keeps what would be published, and owes nothing to anybody."""

    def __init__(self) -> None:
        super().__init__()
        self.rebuilt = Rebuilt()

    def commit(self, commit: Commit) -> None:
        super().commit(Commit(commit.offsets, commit.states, commit.seen))
        self.rebuilt.effects += commit.effects
        self.rebuilt.read |= {seen.id for seen in commit.seen}
        self.rebuilt.records += len(commit.seen)
        for message in commit.messages:
            place = Record(message.topic, 0, 0, datetime.min.replace(tzinfo=UTC), message.key, message.value)
            self.rebuilt.events.append(decode(place._replace(headers=message.headers)))


class _Replayer(Runner):
    """Decides, and does nothing about it."""

    def _begin(self, effects: Iterable[Effect]) -> None:
        """What was owed was done long ago."""


def rebuild(
    bus: Bus, name: str, folds: Sequence[Fold[Any]], progress: Progress = lambda _: None, pace: Pace | None = None
) -> Rebuilt:
    """Everything that `folds` answer to the log up to its end. `name`: of the consumer group. Raises BusError."""
    store = _Recorder()
    runner = _Replayer(name, name, "replay", bus, store, folds, pace=pace or Pace())
    try:
        runner.start()
        with SeldomCollected() as collector:
            while runner.turn() or not runner.at_end():
                progress(store.rebuilt.records)
                collector.now()
        return store.rebuilt
    finally:
        runner.close()


@dataclass(frozen=True)
class Difference:
    """One decision that did not come out the same. `fields`: name, on the log, in the replay."""

    kind: str
    id: UUID
    what: str
    fields: tuple[tuple[str, Any, Any], ...] = ()


@dataclass
class Comparison:
    """Decisions by type that are the same, and the differences."""

    same: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)


def logged(bus: Bus, kinds: Collection[type[Event]]) -> dict[UUID, Event]:
    """The events of these types on the log, the first copy of each."""
    found: dict[UUID, Event] = {}
    for topic in dict.fromkeys(topic_of(kind).name for kind in kinds):
        for record in bus.read(topic):
            try:
                event = decode(record) if record is not None else None
            except DecodeError:
                continue  # not ours to report: it is a dead letter
            if event is not None and isinstance(event, tuple(kinds)):
                found.setdefault(event.id, event)
    return found


def compare(rebuilt: Rebuilt, on_log: dict[UUID, Event], decided: Collection[type[Event]]) -> Comparison:
    """Decisions of the types `decided`, on the log and in the replay.

    Left out: decisions on the log whose cause the replay has not read, as they were made since.
    """
    result = Comparison({kind.TYPE: 0 for kind in decided})
    again = {event.id: event for event in rebuilt.events if isinstance(event, tuple(decided))}
    for event in again.values():
        known = on_log.get(event.id)
        if known is None:
            result.differences.append(Difference(event.TYPE, event.id, "the replay decides it, the log does not"))
            continue
        fields = tuple(_fields(known, event))
        if fields:
            result.differences.append(Difference(event.TYPE, event.id, "it comes out differently", fields))
        else:
            result.same[event.TYPE] += 1
    for event in on_log.values():
        if event.id not in again and event.cause in rebuilt.read:
            result.differences.append(Difference(event.TYPE, event.id, "the log has it, the replay does not decide it"))
    return result


def _fields(known: Event, again: Event) -> Iterable[tuple[str, Any, Any]]:
    if type(known) is not type(again):
        yield "type", known.TYPE, again.TYPE
        return
    one, other = known.model_dump(mode="json", exclude={"source"}), again.model_dump(mode="json", exclude={"source"})
    yield from ((name, one[name], other[name]) for name in one if one[name] != other[name])


def replay(
    bus: Bus,
    service: str,
    folds: Sequence[Fold[Any]],
    decided: Collection[type[Event]],
    check: Callable[[Rebuilt], Iterable[Difference]] = lambda _: (),
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """The report for one service, as plain values. `check` looks at what cannot be compared field by field."""
    rebuilt = rebuild(bus, f"{service}-replay-{uuid4()}", folds, progress)
    give_up = time.monotonic() + MISSING_SECONDS
    while True:  # the service itself may be a moment behind its replay
        found = compare(rebuilt, logged(bus, decided), decided)
        if not any(d.what.startswith("the replay") for d in found.differences) or time.monotonic() > give_up:
            break
        time.sleep(TELL_EVERY)
    differences = [*found.differences, *check(rebuilt)]
    return {
        "service": service,
        "same": not differences,
        "records": rebuilt.records,
        "decisions": found.same,
        "differences": [
            {"type": d.kind, "id": str(d.id), "what": d.what, "fields": [list(f) for f in d.fields]}
            for d in differences[:LISTED]
        ],
        "different": len(differences),
    }


def main(service: str, make: Callable[[Progress], dict[str, Any]]) -> int:
    """The whole `python -m pawl_SERVICE.replay`: lines of JSON on stdout, progress first and the report last.

    `pawl replay` runs it as a child. Exit status: 0 the same, 1 it could not be done, DIFFERENT.
    """
    logging.configure(service, "ERROR")
    last = time.monotonic()

    def progress(records: int) -> None:
        nonlocal last
        if time.monotonic() - last > TELL_EVERY:
            last = time.monotonic()
            _line({"service": service, "records": records})

    try:
        report = make(progress)
    except BusError as error:
        _line({"service": service, "error": str(error)})
        return 1
    _line(report)
    return 0 if report["same"] else DIFFERENT


def _line(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content, default=str) + "\n")
    sys.stdout.flush()
