"""The transactional store in memory: for unit tests and simulations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from pawl_shared.buses.port import Message, Partition
from pawl_shared.errors import FencedError
from pawl_shared.stores.port import Commit, Effect, Row, Seen, StateKey, StoredState, TransactionalStore


@dataclass
class MemoryDatabase:
    """What survives a runner, as a database would."""

    positions: dict[Partition, int] = field(default_factory=dict)
    states: dict[StateKey, StoredState] = field(default_factory=dict)
    seen: set[Seen] = field(default_factory=set)
    effects: dict[UUID, Effect] = field(default_factory=dict)
    outbox: dict[int, Message] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    rows: list[Row] = field(default_factory=list)


class MemoryStore(TransactionalStore):
    """One instance's hold on a database; several may share it, and its offsets fence who was overtaken."""

    def __init__(self, database: MemoryDatabase | None = None) -> None:
        self.database = database or MemoryDatabase()
        self._expected: dict[Partition, int | None] = {}

    @property
    def states(self) -> dict[StateKey, StoredState]:
        """All states, for tests."""
        return self.database.states

    @property
    def rows(self) -> list[Row]:
        """All rows, for tests."""
        return self.database.rows

    def open(self) -> None:
        """Nothing to recover."""

    def positions(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        known = self.database.positions
        self._expected.update({part: known.get(part) for part in partitions})
        return {part: known[part] for part in partitions if part in known}

    def load(self, keys: Sequence[StateKey]) -> dict[StateKey, StoredState]:
        return {key: self.database.states[key] for key in keys if key in self.database.states}

    def due(self, fold: str, now: datetime) -> list[str]:
        items = self.database.states.items()
        return [k for _, k in sorted((s.due, k.key) for k, s in items if k.fold == fold and s.due and s.due <= now)]

    def seen(self, ids: Sequence[Seen]) -> set[Seen]:
        return self.database.seen.intersection(ids)

    def effects(self) -> list[Effect]:
        return list(self.database.effects.values())

    def commit(self, commit: Commit) -> None:
        known = self.database.positions
        for part in commit.offsets:
            if known.get(part) != self._expected.get(part):
                raise FencedError(f"{part.topic}/{part.number} moved on without this instance: another one reads it")
        known.update(commit.offsets)
        self._expected.update(commit.offsets)
        for key, state in commit.states.items():
            if state is None:
                self.database.states.pop(key, None)
            else:
                self.database.states[key] = state
        self.database.seen.update(commit.seen)
        self.database.rows.extend(commit.rows)
        self.database.outbox.update({next(self.database.numbers): message for message in commit.messages})
        self.database.effects.update({effect.id: effect for effect in commit.effects})
        for done in commit.done:
            self.database.effects.pop(done, None)

    def outgoing(self, limit: int) -> list[tuple[int, Message]]:
        return list(itertools.islice(self.database.outbox.items(), limit))

    def sent(self, through: int) -> None:
        outbox = self.database.outbox
        for number in [number for number in outbox if number <= through]:
            del outbox[number]

    def close(self) -> None:
        """Nothing is held."""
