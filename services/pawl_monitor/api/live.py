"""The live feed: what changed on the page, once a second, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from pawl_monitor import metrics
from pawl_shared import logging

Frames = Mapping[str, str]
HEARTBEAT_SECONDS = 15.0
# After the last listener of a model has gone; there may be as many names as apps tell.
KEPT_SECONDS = 30.0


class Feed:
    """Shares one rendering a model and interval between all listeners.

    Args:
        render: answers the named fragments of a model's page; runs in a thread.
        seconds: the interval.
    """

    def __init__(self, render: Callable[[str], Frames], seconds: float = 1.0) -> None:
        self._render, self._seconds = render, seconds
        self._latest: dict[str, tuple[float, Frames]] = {}
        self._busy = asyncio.Lock()
        self._closed = asyncio.Event()
        self._log = logging.get("pawl.monitor")

    async def events(self, model: str) -> AsyncIterator[str]:
        """Fragments whose content is new to this listener, in the wire format of server-sent events."""
        sent: dict[str, str] = {}
        quiet = 0.0
        metrics.LISTENERS.inc()
        try:
            yield "retry: 1000\n\n"
            while not self._closed.is_set():
                frames = await self._frames(model)
                new = {name: content for name, content in frames.items() if sent.get(name) != content}
                sent.update(new)
                quiet = 0.0 if new else quiet + self._seconds
                if new:
                    yield "".join(event(name, content) for name, content in new.items())
                elif quiet >= HEARTBEAT_SECONDS:
                    quiet = 0.0
                    yield ": still here\n\n"
                await self._pause()
        finally:
            metrics.LISTENERS.dec()

    def close(self) -> None:
        """End all streams; browsers come back to the next process."""
        self._closed.set()

    async def _frames(self, model: str) -> Frames:
        loop = asyncio.get_running_loop()
        async with self._busy:
            known = self._latest.get(model)
            if known is not None and loop.time() - known[0] < self._seconds / 2:
                return known[1]
            try:
                frames = await asyncio.to_thread(self._render, model)
            except Exception:
                self._log.exception("the page could not be drawn", model=model)
                return known[1] if known else {}
            now = loop.time()
            kept = {name: drawn for name, drawn in self._latest.items() if now - drawn[0] < KEPT_SECONDS}
            self._latest = kept | {model: (now, frames)}
            return frames

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._closed.wait(), self._seconds)
        except TimeoutError:
            return


def event(name: str, content: str) -> str:
    """One server-sent event; every line of the content is a data line (HTML Living Standard, 9.2.6)."""
    lines = "".join(f"data: {line}\n" for line in content.splitlines() or [""])
    return f"event: {name}\n{lines}\n"
