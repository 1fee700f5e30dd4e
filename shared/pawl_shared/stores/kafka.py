"""The transactional store on Kafka transactions: state, offsets and outgoing events become visible together.

State lives in a compacted topic, one record a key; the group's offsets are committed inside the same transaction; the
broker fences an older instance with the same transactional id. On open, everything is read back: a decision service has
a few thousand states, and what it has seen is packed by hours and forgotten in time (seen_hours.py).
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pawl_shared.buses.port import Bus, Message, Partition, Record, Transactions
from pawl_shared.clock import Clock, SystemClock
from pawl_shared.codec import encode
from pawl_shared.dead_letter import dead_letter
from pawl_shared.errors import ConfigurationError
from pawl_shared.stores.port import Commit, Effect, Seen, StateKey, StoredState, TransactionalStore
from pawl_shared.stores.seen_hours import Chunk, SeenHours
from pawl_shared.topics import Topic


class KafkaStore(TransactionalStore):
    """For one service: its state topic, its consumer group and its transactional id bear its name.

    Args:
        kept: how old, by its own time, a copy of an event may be and be recognised; none: any age.
    """

    def __init__(
        self,
        bus: Bus,
        service: str,
        state_topic: Topic,
        topics: Sequence[str],
        kept: timedelta | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._bus, self._service, self._topic, self._topics = bus, service, state_topic.name, tuple(topics)
        self._transactions: Transactions | None = None
        self._positions: dict[Partition, int] = {}
        self._states: dict[StateKey, StoredState] = {}
        self._seen, self._clock = SeenHours(kept), clock or SystemClock()
        self._effects: dict[UUID, Effect] = {}

    def open(self) -> None:
        # Fence first: from then on no older instance can add to what is read back.
        self._transactions = self._bus.transactions(f"pawl-{self._service}")
        # Of each key the latest record, in the log's order, as compaction leaves them: what compaction has not come to
        # yet need not be parsed (a rollback in the validator's place waited 3.3 s for that).
        latest: dict[bytes | None, Record] = {}
        for record in self._bus.read(self._topic):
            if record is not None:
                latest.pop(record.key, None)
                latest[record.key] = record
        for record in latest.values():
            self._read_back(record)
        self._positions = self._bus.committed(f"pawl-{self._service}", self._topics)

    def _read_back(self, record: Record) -> None:
        try:
            self._recover(json.loads(record.key or b""), record.value)
        except (ValueError, TypeError, IndexError) as error:  # not ours: report it, and go on without it
            source = f"pawl-{self._service}"
            letter = dead_letter(record, self._service, source, f"unreadable state: {error}")
            assert self._transactions is not None, "open() has made it"
            self._transactions.commit([encode(letter)], {}, f"pawl-{self._service}")

    def positions(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        return {part: self._positions[part] for part in partitions if part in self._positions}

    def load(self, keys: Sequence[StateKey]) -> dict[StateKey, StoredState]:
        return {key: self._states[key] for key in keys if key in self._states}

    def due(self, fold: str, now: datetime) -> list[str]:
        items = self._states.items()
        return [k for _, k in sorted((s.due, k.key) for k, s in items if k.fold == fold and s.due and s.due <= now)]

    def seen(self, ids: Sequence[Seen]) -> set[Seen]:
        return {seen for seen in ids if seen in self._seen}

    def effects(self) -> list[Effect]:
        return list(self._effects.values())

    def commit(self, commit: Commit) -> None:
        if commit.rows:
            raise ConfigurationError(f"the {self._service} has no tables, but a fold returned rows")
        assert self._transactions is not None, "open() comes first"
        messages = [*self._records(commit), *commit.messages]
        self._transactions.commit(messages, commit.offsets, f"pawl-{self._service}")
        self._positions.update(commit.offsets)
        for message in messages[: len(messages) - len(commit.messages)]:
            self._recover(json.loads(message.key or b""), message.value)

    def outgoing(self, limit: int) -> list[tuple[int, Message]]:
        return []

    def sent(self, through: int) -> None:
        """The commit has sent them."""

    def close(self) -> None:
        if self._transactions is not None:
            self._transactions.close()

    def _records(self, commit: Commit) -> list[Message]:
        def message(key: list[str], value: object) -> Message:
            content = None if value is None else json.dumps(value).encode()
            return Message(self._topic, json.dumps(key).encode(), content)

        return [
            *(
                message(["state", *key], state and [state.value, state.due and state.due.isoformat()])
                for key, state in commit.states.items()
            ),
            *(
                message(["seen", hour.isoformat(), name], None if ids is None else b64encode(ids).decode())
                for hour, name, ids in (*self._seen.added(commit.seen), *self._seen.upkeep(self._clock.now()))
            ),
            *(message(["effect", str(effect.id)], [effect.kind, effect.payload]) for effect in commit.effects),
            *(message(["effect", str(done)], None) for done in commit.done),
        ]

    def _recover(self, key: Any, content: bytes | None) -> None:
        value: Any = None if content is None else json.loads(content)
        match key:
            case ["state", fold, name] if value is None:
                self._states.pop(StateKey(fold, name), None)
            case ["state", fold, name]:
                due = datetime.fromisoformat(value[1]) if value[1] else None
                self._states[StateKey(fold, name)] = StoredState(value[0], due)
            case ["seen", hour, name]:
                # 1: written before ids were packed; the name is the id.
                ids = UUID(name).bytes if value == 1 else None if value is None else b64decode(value)
                self._seen.take([Chunk(datetime.fromisoformat(hour), name, ids)])
            case ["effect", identity] if value is None:
                self._effects.pop(UUID(identity), None)
            case ["effect", identity]:
                self._effects[UUID(identity)] = Effect(UUID(identity), value[0], value[1])
