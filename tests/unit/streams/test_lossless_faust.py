"""The windows in which plain Faust loses records (tests/integration/streams kills real workers)."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.errors import IllegalStateError
from faust.transport.drivers.aiokafka import Consumer
from mode.utils.queues import FlowControlQueue

from pawl_streams.lossless_faust import LosslessApp, NoPlace, SeekingConsumer


class Thread:
    """What the consumer asks its client thread for."""

    def __init__(self, committed: Mapping[str, int | None]) -> None:
        self.committed, self.sought = committed, list[str]()

    async def seek_to_committed(self) -> Mapping[str, int | None]:
        return self.committed

    async def seek_to_beginning(self, *partitions: str) -> None:
        self.sought += partitions


def test_resuming_keeps_what_was_queued_before_and_a_rebalance_still_clears_it() -> None:
    async def scenario() -> tuple[int, int]:
        app = LosslessApp("test", broker="kafka://127.0.0.1:1")
        queue: Any = FlowControlQueue(flow_control=app.flow_control, clear_on_resume=True)
        queue.put_nowait("a record")
        app.flow_control.resume()
        kept = queue.qsize()
        app.flow_control.clear()
        return kept, queue.qsize()

    assert asyncio.run(scenario()) == (1, 0)


def test_a_seek_moves_partitions_without_a_committed_offset_to_their_beginning() -> None:
    consumer = SeekingConsumer.__new__(SeekingConsumer)
    thread = Thread({"read": 7, "never": None, "nothing": 0, "changelog": None})
    consumer._thread = thread
    consumer._is_changelog_tp = lambda tp: tp == "changelog"
    assert asyncio.run(consumer.seek_to_committed()) == thread.committed
    assert thread.sought == ["never", "nothing"]


def test_the_app_uses_that_consumer() -> None:
    async def scenario() -> type:
        return LosslessApp("test", broker="kafka://127.0.0.1:1").transport.Consumer

    assert asyncio.run(scenario()) is SeekingConsumer


class Records:
    """Two records of a partition, as a fetch brought them."""

    def __init__(self) -> None:
        self.next_fetch_offset = 0

    def __iter__(self) -> Iterator[int]:
        while self.next_fetch_offset < 2:
            self.next_fetch_offset += 1
            yield self.next_fetch_offset - 1


def fetched(partition: str) -> Fetcher:
    """aiokafka's own fetcher that has these records, and keeps them until they are read."""
    fetcher = Fetcher.__new__(Fetcher)
    place = SimpleNamespace(paused=False, position=0, consumed_to=lambda offset: None)
    assignment = SimpleNamespace(active=True, state_value=lambda _: place)
    result = FetchResult(partition, assignment=assignment, partition_records=Records(), backoff=0)
    fetcher._records, fetcher._fetch_waiters, fetcher._closed = {partition: result}, set(), False
    fetcher._loop, fetcher._wait_consume_future = asyncio.get_running_loop(), None
    fetcher._subscriptions = SimpleNamespace(
        reassignment_in_progress=False, is_assigned=lambda _: True, fetch_context=contextlib.nullcontext
    )
    return fetcher


def test_a_fetch_that_began_before_a_rebalance_reads_nothing_until_records_flow_again() -> None:
    async def scenario() -> None:
        thread = LosslessApp("test", broker="kafka://127.0.0.1:1")._new_consumer()._thread
        consumer, active = SimpleNamespace(flow_active=True), set[str]()
        thread.consumer = consumer
        client = SimpleNamespace(_fetcher=fetched("changelog"), _closed=False)

        def fetch(timeout: float) -> asyncio.Task[Any]:
            return asyncio.create_task(thread._fetch_records(client, active, timeout=timeout, max_records=None))

        reading = fetch(30)  # all partitions are paused
        assert not (await asyncio.wait([reading], timeout=0.2))[0]
        consumer.flow_active = False
        assert await reading == {}
        consumer.flow_active, reading = True, fetch(30)
        active.add("changelog")
        assert await reading == {"changelog": [0, 1]}
        assert await fetch(0.01) == {}

    asyncio.run(scenario())


class Bookkeeping:
    """A consumer of one partition that does nothing but keep account of what was delivered and is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def acked(consumer: Any, message: Any) -> bool:
            consumer._acked["p"].append(message.offset)
            return True

        monkeypatch.setattr(Consumer, "ack", acked)
        monkeypatch.setattr(Consumer, "getmany", lambda consumer, timeout: self._fetched())
        self.consumer = SeekingConsumer.__new__(SeekingConsumer)
        self.consumer._delivered, self.consumer._acked = defaultdict(set), defaultdict(list)
        self.consumer._acked_index = defaultdict(set)
        self.consumer._is_changelog_tp = lambda tp: False
        self._offsets: list[int] = []

    def deliver(self, *offsets: int) -> None:
        async def drain() -> None:
            async for _ in self.consumer.getmany(1.0):
                pass

        self._offsets = list(offsets)
        asyncio.run(drain())

    def done(self, *offsets: int) -> int | None:
        """What can be committed then."""
        for offset in offsets:
            self.consumer.ack(SimpleNamespace(tp="p", offset=offset))
        return self.consumer._new_offset("p")

    async def _fetched(self) -> Any:
        for offset in self._offsets:
            yield "p", SimpleNamespace(offset=offset)


def test_committed_is_what_lies_before_the_first_record_that_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    book = Bookkeeping(monkeypatch)
    book.deliver(90, 91, 92, 95, 96)
    assert book.done() is None
    assert book.done(91, 92) == 90
    assert book.done(90) == 93
    book.deliver(90, 91)  # a seek that came late: read again, and not done yet
    assert book.done(95, 96) == 90
    assert book.done(90, 91) == 97  # 93 and 94 hold no record
    assert book.done() is None


class Delivered:
    """A message, as far as a set needs it."""

    acked = False


def test_a_stop_does_not_wait_for_what_was_given_up() -> None:
    async def scenario() -> list[str]:
        app = LosslessApp("test", broker="kafka://127.0.0.1:1")
        consumer, messages = app._new_consumer(), [Delivered(), Delivered()]
        commits = list[str]()

        async def commit(*_: object, **__: object) -> None:
            commits.append("commit")

        consumer.commit = consumer.commit_and_end_transactions = commit
        consumer.wait_for(messages)
        assert len(consumer._unacked_messages) == 2
        consumer.give_up(messages)
        await asyncio.wait_for(consumer.wait_empty(), 10)
        return commits

    assert asyncio.run(scenario()) == ["commit"], "at once"


def test_behind_is_what_is_not_committed_of_its_own_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    def highwater(partition: str) -> int | None:
        if partition == "taken away":
            raise IllegalStateError
        return {"read": 9, "never": 4, "unknown": None, "changelog": 100}[partition]

    consumer = Bookkeeping(monkeypatch).consumer
    consumer._committed_offset = defaultdict(lambda: None, {"read": 7, "unknown": 5, "gone": 1})
    consumer._is_changelog_tp = lambda tp: tp == "changelog"
    monkeypatch.setattr(consumer, "highwater", highwater)
    monkeypatch.setattr(consumer, "assignment", lambda: {"read", "never", "unknown", "changelog", "taken away"})
    assert consumer.behind() == (9 - 7) + 4


def test_no_record_is_dropped_for_the_place_up_to_which_was_read() -> None:
    place = NoPlace()
    place["p"] = 7
    place.update({"p": 9})
    assert place["p"] is None
    assert place.pop("p", None) is None
