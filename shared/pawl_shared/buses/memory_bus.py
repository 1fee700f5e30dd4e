"""The bus in memory: for unit tests and simulations. It passes the same contract suite as Kafka."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future

from pawl_shared.buses.port import Bus, Message, OnAssigned, OnRevoked, Partition, Record
from pawl_shared.clock import Clock, SystemClock
from pawl_shared.errors import BusError, FencedError
from pawl_shared.topics import Topic

# Who waits here looks this often whether it is to stop: nothing tells it.
LOOK_SECONDS = 0.01


class MemoryBus(Bus):
    """One broker's worth of logs. Share one instance between the services of a test."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._changed = threading.Condition()
        self._logs: dict[Partition, list[Record]] = {}
        self._counts: dict[str, int] = {}
        self._epochs: dict[str, int] = {}
        self._committed: dict[str, dict[Partition, int]] = {}
        self._members: dict[str, list[_MemoryConsumer]] = {}
        self.available = True

    def create_topics(self, topics: Sequence[Topic]) -> list[str]:
        with self._changed:
            new = [topic for topic in topics if topic.name not in self._counts]
            for topic in new:
                self._counts[topic.name] = topic.partitions
                for number in range(topic.partitions):
                    self._logs[Partition(topic.name, number)] = []
            return [topic.name for topic in new]

    def producer(self, name: str) -> _MemoryProducer:
        return _MemoryProducer(self)

    def transactions(self, transactional_id: str) -> _MemoryTransactions:
        with self._changed:
            self._epochs[transactional_id] = epoch = self._epochs.get(transactional_id, 0) + 1
        return _MemoryTransactions(self, transactional_id, epoch)

    def consumer(
        self, group: str, instance: str, topics: Sequence[str], on_assigned: OnAssigned, on_revoked: OnRevoked
    ) -> _MemoryConsumer:
        for topic in topics:
            self._known(topic)
        return _MemoryConsumer(self, group, instance, topics, on_assigned, on_revoked)

    def read(
        self,
        topic: str,
        stop: Callable[[], bool] | None = None,
        timeout: float = 0.2,
        behind: Callable[[int], None] = lambda _: None,
        tail: bool = False,
    ) -> Iterator[Record | None]:
        parts = [Partition(topic, number) for number in range(self._known(topic))]
        done = {part: len(self._logs[part]) if tail else 0 for part in parts}
        while True:
            batch = [record for part in parts for record in self._after(part, done[part])]
            behind(len(batch))
            for record in batch:
                done[Partition(record.topic, record.partition)] = record.offset + 1
            yield from batch
            behind(0)
            if stop is None:
                return
            yield None
            self._wait(lambda: stop() or any(len(self._logs[part]) > done[part] for part in parts), timeout)
            if stop():
                return

    def committed(self, group: str, topics: Sequence[str]) -> dict[Partition, int]:
        with self._changed:
            return {part: offset for part, offset in self._committed.get(group, {}).items() if part.topic in topics}

    def members(self, group: str) -> set[str]:
        with self._changed:
            return {member._instance for member in self._members.get(group, [])}

    def close(self) -> None:
        """Nothing is held."""

    # ------------------------------------------------------------ for the classes below

    def _known(self, topic: str) -> int:
        if topic not in self._counts:
            raise BusError(f"no topic {topic!r}: create it first (`pawl topics apply`)")
        return self._counts[topic]

    def _append(self, message: Message) -> Partition:
        if not self.available:
            raise BusError("the broker does not answer")
        count = self._known(message.topic)
        by_key = zlib.crc32(message.key or b"") % count
        part = Partition(message.topic, by_key if message.partition is None else message.partition)
        log = self._logs[part]
        log.append(Record(*part, len(log), self._clock.now(), message.key, message.value, tuple(message.headers)))
        self._changed.notify_all()
        return part

    def _after(self, part: Partition, offset: int) -> list[Record]:
        with self._changed:
            return self._logs[part][offset:]

    def _deliver(self, part: Partition, offset: int) -> list[Record]:
        """What a poll gets: everything. A bus that is slow or uneven gives the first of it, or nothing yet."""
        return self._after(part, offset)

    def _wait(self, condition: Callable[[], bool], timeout: float) -> None:
        give_up = time.monotonic() + timeout
        with self._changed:
            while not condition() and (left := give_up - time.monotonic()) > 0:
                self._changed.wait(min(left, LOOK_SECONDS))


class _MemoryProducer:
    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus

    def send(self, message: Message) -> Future[Partition]:
        future: Future[Partition] = Future()
        try:
            with self._bus._changed:
                future.set_result(self._bus._append(message))
        except BusError as error:
            future.set_exception(error)
        return future

    def ready(self, topic: str) -> bool:
        return True

    def flush(self, timeout: float = 60.0) -> None:
        """Everything is sent at once."""

    def close(self) -> None:
        """Nothing is held."""


class _MemoryTransactions:
    def __init__(self, bus: MemoryBus, transactional_id: str, epoch: int) -> None:
        self._bus, self._id, self._epoch = bus, transactional_id, epoch

    def commit(self, messages: Sequence[Message], offsets: Mapping[Partition, int], group: str) -> None:
        with self._bus._changed:
            if self._bus._epochs[self._id] != self._epoch:
                raise FencedError(f"another instance has taken over {self._id!r}: this one stops")
            if not self._bus.available:
                raise BusError("the broker does not answer")
            for message in messages:
                self._bus._append(message)
            self._bus._committed.setdefault(group, {}).update(offsets)

    def close(self) -> None:
        """Nothing is held."""


class _MemoryConsumer:
    def __init__(
        self,
        bus: MemoryBus,
        group: str,
        instance: str,
        topics: Sequence[str],
        on_assigned: OnAssigned,
        on_revoked: OnRevoked,
    ) -> None:
        self._bus, self._group, self._instance, self._topics = bus, group, instance, tuple(topics)
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        self._positions: dict[Partition, int] = {}
        self._wanted: frozenset[Partition] = frozenset()
        self._held: frozenset[Partition] = frozenset()
        with bus._changed:
            members = bus._members.setdefault(group, [])
            # Static membership: who joins under the name of a member takes its place, and fences it.
            members[:] = [member for member in members if member._instance != instance]
            members.append(self)
            self._rebalance()

    def poll(self, timeout: float) -> list[Record]:
        self._check()
        self._apply()
        open_ones = {part: offset for part, offset in self._positions.items() if part not in self._held}
        self._bus._wait(lambda: any(len(self._bus._logs[p]) > o for p, o in open_ones.items()), timeout)
        batch = [record for part, offset in open_ones.items() for record in self._bus._deliver(part, offset)]
        for record in batch:
            self._positions[Partition(record.topic, record.partition)] = record.offset + 1
        return batch

    def hold(self, partitions: Collection[Partition]) -> None:
        self._held = frozenset(partitions)

    def ends(self) -> dict[Partition, int]:
        if not self._bus.available:
            raise BusError("the broker does not answer")
        with self._bus._changed:
            return {part: len(self._bus._logs[part]) for part in self._positions}

    def reached(self, ends: Mapping[Partition, int]) -> list[Partition]:
        return [part for part, offset in self._positions.items() if offset >= ends.get(part, offset + 1)]

    def lag(self) -> int:
        return sum(len(self._bus._logs[part]) - offset for part, offset in self._positions.items())

    def close(self) -> None:
        if self._positions:
            self._on_revoked(list(self._positions))
            self._positions = {}
        with self._bus._changed:
            if self in self._bus._members[self._group]:
                self._bus._members[self._group].remove(self)
                self._rebalance()

    def _check(self) -> None:
        if self not in self._bus._members[self._group]:
            raise FencedError(f"another member has joined {self._group!r} as {self._instance!r}: this one stops")

    def _rebalance(self) -> None:
        members = self._bus._members[self._group]
        parts = sorted({p for m in members for p in self._bus._logs if p.topic in m._topics})
        for index, member in enumerate(members):
            member._wanted = frozenset(parts[index :: len(members)])
        self._bus._changed.notify_all()

    def _apply(self) -> None:
        if self._wanted == self._positions.keys():
            return
        revoked = [part for part in self._positions if part not in self._wanted]
        if revoked:
            self._on_revoked(revoked)
        new = sorted(part for part in self._wanted if part not in self._positions)
        starts = self._on_assigned(new)
        kept = {part: offset for part, offset in self._positions.items() if part in self._wanted}
        self._positions = dict(sorted((kept | {part: starts.get(part) or 0 for part in new}).items()))
