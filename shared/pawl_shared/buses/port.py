"""The bus port: records on topics, as services see them. Adapters: kafka_bus.py, memory_bus.py (one contract suite)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from pawl_shared.topics import Topic

Headers = tuple[tuple[str, bytes], ...]


class Partition(NamedTuple):
    """One partition of a topic."""

    topic: str
    number: int


@dataclass(frozen=True)
class Message:
    """What is sent. A value of None deletes the key from a compacted topic; `partition` None: by the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class Record(NamedTuple):
    """What is read. `appended` is the broker's LogAppendTime: the only `now` that folds know."""

    topic: str
    partition: int
    offset: int
    appended: datetime
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


# Told which partitions are ours now; answers where to start in each (None: at the earliest record).
OnAssigned = Callable[[Collection[Partition]], Mapping[Partition, int | None]]
OnRevoked = Callable[[Collection[Partition]], None]


class Consumer(Protocol):
    """A member of a group. Offsets are kept by the caller's store, never by the broker."""

    def poll(self, timeout: float) -> Sequence[Record]:
        """Records since the last call, in offset order within a partition; waits up to `timeout` seconds for one."""

    def hold(self, partitions: Collection[Partition]) -> None:
        """Poll delivers nothing of these, and of these alone, from now on; they stay ours."""

    def ends(self) -> Mapping[Partition, int]:
        """Where the assigned partitions end: whatever the broker takes after this call lies at or beyond these offsets.

        Messages of a transaction that is still open count, too. Raises BusError when the broker does not say.
        """

    def reached(self, ends: Mapping[Partition, int]) -> Collection[Partition]:
        """The partitions of which everything before these offsets has been delivered."""

    def lag(self) -> int:
        """Records behind the end of the assigned partitions, as far as is known."""

    def close(self) -> None:
        """Leave the group."""


class Producer(Protocol):
    """Sends in order, each message at least once and without duplicates from retries; safe to use from many threads."""

    def send(self, message: Message) -> Future[Partition]:
        """Done when all replicas have it. Waits while too many sends are outstanding (back-pressure).

        The future raises BusError when the broker did not take the message.
        """

    def ready(self, topic: str) -> bool:
        """Whether send() would answer at once, as long as few sends are outstanding. Never waits."""

    def flush(self, timeout: float = 60.0) -> None:
        """Wait until everything sent so far is acknowledged. Raises BusError otherwise."""

    def close(self) -> None:
        """Flush and disconnect."""


class Transactions(Protocol):
    """A producer whose messages and consumed offsets become visible together, or not at all."""

    def commit(self, messages: Sequence[Message], offsets: Mapping[Partition, int], group: str) -> None:
        """One transaction. Raises FencedError when another instance has taken over this transactional id."""

    def close(self) -> None:
        """Disconnect."""


class Bus(Protocol):
    """A connection to a broker."""

    def create_topics(self, topics: Sequence[Topic]) -> list[str]:
        """Create those that are missing, and answer their names. Existing ones are left as they are."""

    def producer(self, name: str) -> Producer:
        """A new producer."""

    def transactions(self, transactional_id: str) -> Transactions:
        """A new transactional producer; older ones with the same id are fenced from now on."""

    def consumer(
        self, group: str, instance: str, topics: Sequence[str], on_assigned: OnAssigned, on_revoked: OnRevoked
    ) -> Consumer:
        """A new member of `group`; sees committed records only. `instance` names it across restarts."""

    def read(
        self,
        topic: str,
        stop: Callable[[], bool] | None = None,
        timeout: float = 0.2,
        behind: Callable[[int], None] = lambda _: None,
        tail: bool = False,
    ) -> Iterator[Record | None]:
        """Every committed record of a topic from its beginning, without a group.

        Without `stop`: ends at the end of the topic as it was at the call. With it: goes on until stop() is true, and
        yields None whenever the reader stands at the end, which is asked for anew after each None. `behind` is told how
        many records lie between the reader and the end, as far as it is known. `tail`: not from the beginning, but
        from where the topic ends when the first of this is asked for.
        Raises BusError, also in the middle, when the broker goes away.
        """

    def committed(self, group: str, topics: Sequence[str]) -> dict[Partition, int]:
        """The offsets that transactions have committed for a group."""

    def members(self, group: str) -> set[str]:
        """The instances that are members of a group now; one that was killed is for 10 s more."""

    def close(self) -> None:
        """Disconnect."""
