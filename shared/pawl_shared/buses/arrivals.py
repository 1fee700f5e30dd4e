"""What was read and waits for its turn: records of all partitions in the one order of their arrival at the broker.

Without it a Tick overtakes interactions whenever a reader lags (sessions then end early), and two readers of one log
see two orders. The order is (arrival, topic, partition, offset); a record is released once nothing that comes before it
can still be on its way. Kafka Streams orders in this way, too, but does not ask the broker ("max.task.idle.ms"), so
that two runs of it may differ.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from pawl_shared.buses.port import Partition, Record

# Records of one partition that may wait for the others; beyond it the consumer is asked to hold that partition back.
CROWDED = 10_000

_Place = tuple[datetime, str, int]
_BEFORE_ALL: _Place = (datetime.min.replace(tzinfo=UTC), "", 0)
_AFTER_ALL_TOPICS = "\U0010ffff"


class Arrivals:
    """Waiting records, and for each partition the place up to which it is known entirely."""

    def __init__(self, crowded: int = CROWDED) -> None:
        self._crowded = crowded
        self._waiting: dict[Partition, deque[tuple[_Place, Record]]] = {}
        self._known: dict[Partition, _Place] = {}
        self.latest: datetime | None = None

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def assign(self, partitions: Iterable[Partition]) -> None:
        """From now on nothing is released before these are known, too."""
        for part in partitions:
            self._waiting[part] = deque()
            self._known[part] = _BEFORE_ALL

    def drop(self, partitions: Iterable[Partition]) -> None:
        """These are read by somebody else now, or again from the committed offset."""
        for part in partitions:
            self._waiting.pop(part, None)
            self._known.pop(part, None)

    def add(self, records: Iterable[Record]) -> None:
        """Records as they were polled, in offset order within a partition."""
        for record in records:
            part = Partition(record.topic, record.partition)
            # A broker's clock may be set back; the order within a partition stays that of its offsets.
            place = max(self._known[part], (record.appended, *part))
            self._known[part] = place
            self._waiting[part].append((place, record))
            self.latest = place[0] if self.latest is None else max(self.latest, place[0])

    def complete(self, moment: datetime, partitions: Iterable[Partition]) -> None:
        """Everything that arrived on these up to `moment` has been added."""
        for part in partitions:
            if part in self._known:
                self._known[part] = max(self._known[part], (moment, _AFTER_ALL_TOPICS, 0))

    def complete_until(self, moment: datetime) -> bool:
        """Whether all partitions are known up to `moment`."""
        return all(place >= (moment, _AFTER_ALL_TOPICS, 0) for place in self._known.values())

    def release(self) -> list[Record]:
        """Those whose turn it is, in order."""
        if not self._known:
            return []
        bound = min(self._known.values())
        ready: list[tuple[_Place, Record]] = []
        for waiting in self._waiting.values():
            while waiting and waiting[0][0] <= bound:
                ready.append(waiting.popleft())
        ready.sort(key=lambda item: item[0])  # stable: offsets keep their order
        return [record for _, record in ready]

    def crowded(self) -> Collection[Partition]:
        """Partitions with so much waiting that reading on would only cost memory."""
        return [part for part, waiting in self._waiting.items() if len(waiting) >= self._crowded]
