"""The two windows in which plain Faust loses records (tests/integration/streams kills a real worker)."""

import asyncio
from collections.abc import Mapping
from typing import Any

from mode.utils.queues import FlowControlQueue

from pawl_streams.lossless_faust import LosslessApp, SeekingConsumer


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
