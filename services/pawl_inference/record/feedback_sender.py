"""Between the event loop and the broker: posts go in, and are answered when every message of theirs is acknowledged.

What waits is bounded in number, bytes and time. While the broker is away the first posts wait until their time is up;
from then on new ones are refused at once, but for one every few seconds that tries. The first acknowledgement, of
that one or of what the producer still holds, opens the door again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pawl_inference.record.publisher import Publisher
from pawl_shared import logging
from pawl_shared.buses.port import Message, Partition
from pawl_shared.errors import BusError
from pawl_shared.topics import FEEDBACK

log = logging.get(__name__)
# Below what the producer itself lets be outstanding (10,000), so that its send() never waits.
MAX_MESSAGES = 8_000
MAX_BYTES = 64 << 20
PROBE_SECONDS = 5.0
# Connecting, and making keys for texts, wait for the broker; so many posts may do so at a time.
THREADS = 4

Make = Callable[[], Sequence[Message]]


class _Post:
    """Messages that are acknowledged together. `waiting` is done when the last of them is."""

    __slots__ = ("count", "error", "expired", "left", "loop", "make", "size", "waiting")

    def __init__(self, make: Make, count: int, size: int) -> None:
        self.make, self.count, self.size = make, count, size
        self.left = count
        self.error: BaseException | None = None
        self.expired = False
        self.loop = asyncio.get_running_loop()
        self.waiting: asyncio.Future[None] = self.loop.create_future()

    def finish(self) -> None:
        """In the event loop."""
        if not self.waiting.done():
            self.waiting.set_result(None)


class FeedbackSender:
    """Sends from the event loop what cannot wait there, and the rest from threads; one wake-up of the loop a post."""

    def __init__(self, publisher: Publisher, timeout: float) -> None:
        self._publisher, self._timeout = publisher, timeout
        self._lock = threading.Lock()
        self._messages = self._bytes = 0
        self._away, self._probe_at = "", 0.0
        self._broken = False
        self._pool = ThreadPoolExecutor(THREADS, "feedback-sender")

    @property
    def waiting(self) -> int:
        """Messages that are not acknowledged yet."""
        return self._messages

    async def publish(self, make: Make, count: int, size: int, *, slow: bool) -> None:
        """Send `count` messages of some `size` bytes in all, and wait for every acknowledgement.

        slow: making them may wait for the broker.

        Raises BusError: at once when too much waits already or the broker is known to be away, or when it has not
        acknowledged everything in time. Messages that were sent by then may still arrive.
        """
        post = _Post(make, count, size)
        self._admit(post)
        if slow or self._broken or not self._publisher.ready(FEEDBACK.name):
            self._pool.submit(self._work, post)
        else:
            self._work(post)
        try:
            async with asyncio.timeout(self._timeout):
                await post.waiting
        except TimeoutError as error:
            self._expire(post)
            raise BusError(self._away) from error
        if post.error is not None:
            raise BusError(str(post.error)) from post.error

    def close(self) -> None:
        """Disconnect, in a bounded time. What waits is not acknowledged."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._publisher.close()

    def _admit(self, post: _Post) -> None:
        with self._lock:
            if self._away and self._messages and time.monotonic() < self._probe_at:
                raise BusError(self._away)
            if self._messages and (self._messages + post.count > MAX_MESSAGES or self._bytes + post.size > MAX_BYTES):
                raise BusError(f"{self._messages} statements wait for the broker already")
            if self._away:
                self._probe_at = time.monotonic() + PROBE_SECONDS
            self._messages += post.count
            self._bytes += post.size

    def _expire(self, post: _Post) -> None:
        with self._lock:
            post.expired = True
            if not self._away:
                log.warning("the broker does not acknowledge feedback", waiting=self._messages)
                self._probe_at = time.monotonic() + PROBE_SECONDS
            self._away = f"the broker has acknowledged nothing for {self._timeout:.0f} s"

    # ------------------------------------------------------------ in the loop or in a thread

    def _work(self, post: _Post) -> None:
        if post.expired:  # its client was told to come again
            self._settle(post, post.count, None)
            return
        try:
            messages = post.make()
        except Exception as error:  # whatever it is, the post must get its answer
            self._settle(post, post.count, error)
            return
        for message in messages:
            self._send(post, message)

    def _send(self, post: _Post, message: Message) -> None:
        try:
            if self._broken:
                # Without waiting: the old connection may need its time to end.
                self._broken = False
                self._publisher.reset(wait=0)
            sent = self._publisher.send(message)
        except Exception as error:
            self._settle(post, 1, error)
        else:
            sent.add_done_callback(lambda done: self._acknowledged(post, done))

    def _acknowledged(self, post: _Post, done: Future[Partition]) -> None:
        error = done.exception()
        if error is None:
            self._away = ""
        else:
            self._broken = True
        self._settle(post, 1, error)

    def _settle(self, post: _Post, count: int, error: BaseException | None) -> None:
        """So many messages of a post wait no longer."""
        with self._lock:
            self._messages -= count
            post.left -= count
            if error is not None:
                post.error, self._away = error, str(error)
            if post.left:
                return
            self._bytes -= post.size
        with contextlib.suppress(RuntimeError):  # the loop has ended, and its clients with it
            post.loop.call_soon_threadsafe(post.finish)
