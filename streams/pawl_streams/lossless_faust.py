"""Faust with the windows closed in which faust-streaming 0.15.3 loses records when a worker starts or rebalances.

When its tables are restored, Faust lets records flow, then seeks to the committed offsets (50 ms for 24 partitions),
and then calls `flow_control.resume()`, which empties the queues of its agents:

- what was fetched again after a partition's seek and before that call is thrown away and never read again;
- what was fetched early from a partition without a committed offset is thrown away too, as no seek brings it back;
- it remembers how far it has read and drops what lies before; a record that is being delivered while a rebalance
  forgets that place writes it down again, and what is read again up to there is dropped;
- what lies between the last record that was read and the next counts as a hole in the log and is committed unread:
  after the seek, the place is set back, and what was delivered since is taken for such a hole;
- a fetch that began before a rebalance goes on for up to a second, and while all partitions are paused, so that it is
  to read none, it reads all: what it finds between the seek to where a table's changelog is read from and the call that
  lets records flow is thrown away, nothing seeks back, and the worker waits for the table for ever.

Measured: after kill -9 and a start, 2 of 5 runs of 24 records over 8 partitions lost some for good by the first two;
of two workers that hung, died and came back, some were missing in 1 of 4 runs (by which of the others was not seen).
Of 12 workers that took the partitions of a killed one over, on a busy machine, one never went on, by the last.
With the windows closed such records are at worst read twice, which the join sees by their ids.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import faust
from aiokafka.errors import IllegalStateError  # type: ignore[import-untyped]
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from mode.utils.queues import FlowControlEvent

from pawl_streams import header_names

# What was fetched while records did not flow is looked for again after so long: nobody wakes who waits for it.
LOOK_SECONDS = 0.1


class KeepingFlowControl(FlowControlEvent):  # type: ignore[misc]
    """Resuming keeps what is queued; a rebalance empties the queues by `clear`, before it seeks."""

    def resume(self) -> None:
        """Let records flow into the agents' queues."""
        self._suspend.clear()
        self._resume.set()


class NoPlace(dict[Any, None]):
    """Where Faust would remember how far it has read: nowhere, so that it neither drops records nor sees holes."""

    def __getitem__(self, key: Any) -> None:
        return None

    def __setitem__(self, key: Any, value: object) -> None:
        """Forgotten at once."""

    def update(self, *args: Any, **values: object) -> None:
        """Forgotten at once."""


class Flowing:
    """The partitions that may be read at this moment: none while records do not flow.

    aiokafka takes an empty set for all partitions; this one is never empty.
    """

    def __init__(self, consumer: Consumer, active: set[Any]) -> None:
        self._consumer, self._active = consumer, active

    def __contains__(self, partition: Any) -> bool:
        return self._consumer.flow_active and partition in self._active


class FlowingThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """Reads nothing while records do not flow, even if it has begun to wait for them before."""

    async def _fetch_records(
        self, consumer: Any, active_partitions: set[Any], timeout: float = 0.0, max_records: int | None = None
    ) -> Mapping[Any, list[Any]]:
        flowing, give_up = Flowing(self.consumer, active_partitions), time.monotonic() + timeout
        while True:
            found: Mapping[Any, list[Any]] = await super()._fetch_records(
                consumer, flowing, timeout=min(timeout, LOOK_SECONDS), max_records=max_records
            )
            if found or not self.consumer.flow_active or time.monotonic() >= give_up:
                return found


class SeekingConsumer(Consumer):  # type: ignore[misc]
    """A seek to the committed offsets moves every partition: one without such an offset goes to its beginning.

    Committed is what lies before the first record that was delivered and is not acknowledged. Offsets that no record
    has (of transactions, or deleted ones) are no hindrance, as nothing was delivered there.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._read_offset = NoPlace()
        self._delivered: dict[Any, set[int]] = defaultdict(set)

    def _new_consumer_thread(self) -> FlowingThread:
        return FlowingThread(self, loop=self.loop, beacon=self.beacon)

    async def seek_to_committed(self) -> Mapping[Any, int | None]:
        """Returns committed offsets by partition; None where nothing was committed."""
        committed: Mapping[Any, int | None] = await super().seek_to_committed()
        unmoved = [tp for tp, offset in committed.items() if not offset and not self._is_changelog_tp(tp)]
        if unmoved:
            await self._thread.seek_to_beginning(*unmoved)
        return committed

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Any]]:
        """Partitions and records, as they are fetched."""
        async for partition, message in super().getmany(timeout):
            if not self._is_changelog_tp(partition):
                self._delivered[partition].add(message.offset)
            yield partition, message

    def ack(self, message: Any) -> bool:
        """A record is done; answers whether that was new."""
        self._delivered[message.tp].discard(message.offset)
        return bool(super().ack(message))

    def wait_for(self, messages: Iterable[Any]) -> None:
        """Before it stops or gives partitions away, Faust waits until these are acknowledged, or given up."""
        self._unacked_messages.update(messages)

    def give_up(self, messages: Iterable[Any]) -> None:
        """Nothing waits for these any more. Faust waits for all that an agent has got; so for ever, for what the agent
        does not acknowledge, as long as anybody still holds it."""
        self._unacked_messages.difference_update(messages)

    async def on_partitions_assigned(self, assigned: set[Any], generation_id: int = 0) -> None:
        """What was delivered or done before is of no account any more: reading begins at the committed offsets."""
        for kept in (self._delivered, self._acked, self._acked_index):
            kept.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    def behind(self) -> int:
        """Records of the partitions of this worker that are not committed yet, as far as their ends are known."""
        found = 0
        for partition in self.assignment():
            with contextlib.suppress(IllegalStateError):  # taken away meanwhile
                end = None if self._is_changelog_tp(partition) else self.highwater(partition)
                found += max(0, (end or 0) - (self._committed_offset[partition] or 0))
        return found

    def _new_offset(self, tp: Any) -> int | None:
        acked = self._acked[tp]
        if not acked:
            return None
        end: int = min(max(acked) + 1, min(self._delivered[tp], default=max(acked) + 1))
        acked[:] = [offset for offset in acked if offset >= end]
        self._acked_index[tp] = set(acked)
        return end


class LosslessTransport(Transport):  # type: ignore[misc]
    """Faust's transport with the consumer above."""

    Consumer = SeekingConsumer


class LosslessApp(faust.App):  # type: ignore[misc]
    """A Faust app with these windows closed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        header_names.install()
        super().__init__(*args, **options)
        self.flow_control = KeepingFlowControl()

    def _new_transport(self) -> LosslessTransport:
        return LosslessTransport(self.conf.broker_consumer, self)
