"""The transactional store in memory: for unit tests and simulations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from pawl_shared.bus import Message, Partition
from pawl_shared.stores.port import Commit, Effect, Row, Seen, StateKey, StoredState, TransactionalStore


class MemoryStore(TransactionalStore):
    """What was committed survives the runner, as a database would: give the same instance to its successor."""

    def __init__(self) -> None:
        self._positions: dict[Partition, int] = {}
        self.states: dict[StateKey, StoredState] = {}
        self._seen: set[Seen] = set()
        self._effects: dict[UUID, Effect] = {}
        self._outbox: dict[int, Message] = {}
        self._numbers = itertools.count(1)
        self.rows: list[Row] = []

    def open(self) -> None:
        """Nothing to recover."""

    def positions(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        return {part: self._positions[part] for part in partitions if part in self._positions}

    def load(self, keys: Sequence[StateKey]) -> dict[StateKey, StoredState]:
        return {key: self.states[key] for key in keys if key in self.states}

    def due(self, fold: str, now: datetime) -> list[str]:
        found = [
            (s.due, k.key) for k, s in self.states.items() if k.fold == fold and s.due is not None and s.due <= now
        ]
        return [key for _, key in sorted(found)]

    def seen(self, ids: Sequence[Seen]) -> set[Seen]:
        return self._seen.intersection(ids)

    def effects(self) -> list[Effect]:
        return list(self._effects.values())

    def commit(self, commit: Commit) -> None:
        self._positions.update(commit.offsets)
        for key, state in commit.states.items():
            if state is None:
                self.states.pop(key, None)
            else:
                self.states[key] = state
        self._seen.update(commit.seen)
        self.rows.extend(commit.rows)
        self._outbox.update({next(self._numbers): message for message in commit.messages})
        self._effects.update({effect.id: effect for effect in commit.effects})
        for done in commit.done:
            self._effects.pop(done, None)

    def outgoing(self, limit: int) -> list[tuple[int, Message]]:
        return list(itertools.islice(self._outbox.items(), limit))

    def sent(self, through: int) -> None:
        self._outbox = {number: message for number, message in self._outbox.items() if number > through}

    def close(self) -> None:
        """Nothing is held."""
