"""The transactional store port: what the runner commits, it commits whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from pawl_shared.buses.port import Message, Partition


class StateKey(NamedTuple):
    """One piece of a fold's state."""

    fold: str
    key: str


@dataclass(frozen=True)
class StoredState:
    """State as JSON, and when its timer is due (by the time of a Tick)."""

    value: str
    due: datetime | None = None


class Seen(NamedTuple):
    """An event that was handled. Deduplication is by (hour of the event's time, id): exact however late a copy comes,
    because an event that is published again keeps its time."""

    hour: datetime
    id: UUID


class Row(NamedTuple):
    """A row for one of the store's own tables (only stores that have tables take rows). All rows of a table that are
    committed together have the same columns, in the same order."""

    table: str
    columns: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def by_name(self) -> dict[str, Any]:
        """For those who look at few rows."""
        return dict(zip(self.columns, self.values, strict=True))


@dataclass(frozen=True)
class Effect:
    """Work outside the process that is now owed: begun after the commit, and again after a restart until it is done."""

    id: UUID
    kind: str
    payload: str


@dataclass(frozen=True)
class Commit:
    """Everything that one batch changed."""

    offsets: Mapping[Partition, int] = field(default_factory=dict)
    states: Mapping[StateKey, StoredState | None] = field(default_factory=dict)
    seen: Sequence[Seen] = ()
    rows: Sequence[Row] = ()
    messages: Sequence[Message] = ()
    effects: Sequence[Effect] = ()
    done: Sequence[UUID] = ()


class TransactionalStore(Protocol):
    """Keeps offsets, state, seen ids, rows, effects and outgoing messages, together or not at all.

    Its user is the runner's one thread; open() comes first. Where commit() is called in another one (DuckDB's), load(),
    due() and seen() may be called meanwhile, and answer as before or as after the commit, each as it likes.
    """

    def open(self) -> None:
        """Recover what was committed. Raises FencedError or BusError."""

    def positions(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The next offset of each partition that was read before."""

    def load(self, keys: Sequence[StateKey]) -> dict[StateKey, StoredState]:
        """Those states that exist."""

    def due(self, fold: str, now: datetime) -> list[str]:
        """The keys of a fold whose timer is due at `now`, the earliest first."""

    def seen(self, ids: Sequence[Seen]) -> set[Seen]:
        """Those that were committed before."""

    def effects(self) -> list[Effect]:
        """Effects that are owed, oldest first."""

    def commit(self, commit: Commit) -> None:
        """All of it or nothing. Raises FencedError when somebody else owns the partitions or the identity."""

    def outgoing(self, limit: int) -> list[tuple[int, Message]]:
        """Committed messages that are not sent yet, in order (none where the commit itself sends them)."""

    def sent(self, through: int) -> None:
        """Forget outgoing messages up to and with this number: the broker has them."""

    def close(self) -> None:
        """Release what is held."""
