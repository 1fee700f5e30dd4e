"""Loads again, when it is asked for, a version that had to make room for others."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pawl_inference import errors, metrics
from pawl_inference.engine.port import NoFreeSlotError
from pawl_inference.versions.hosts import Artifacts, Host
from pawl_shared import logging
from pawl_shared.errors import PawlError
from pawl_shared.events import DeployedVersion

log = logging.get(__name__)
# A version is read and packed in some 50 ms, and answers that hold the slots end within seconds.
PATIENCE_SECONDS = 3.0
# So long the versions in the slots are left to their requests; then one of them has to finish what it has.
TURN_SECONDS = 0.5
# A version that nobody waits for any more gets its slot all the same: who asks again soon finds it.
LOAD_SECONDS = 30.0
LOOK_SECONDS = 0.02
MOST_WAITING = 16


@dataclass
class NotLoadedError(Exception):
    """A deployed version that is not in a slot."""

    host: Host
    served: DeployedVersion


@dataclass
class _Load:
    """One version on its way. `left` is set while no request waits for it, or is about to begin."""

    over: Future[None] = field(default_factory=Future)
    waiting: int = 0
    left: threading.Event = field(default_factory=threading.Event)


@dataclass
class Residency:
    """One load at a time into each graph's engine; requests for one version share its load."""

    artifacts: Artifacts
    _loading: dict[tuple[str, str], _Load] = field(default_factory=dict)  # by graph and version
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: threading.Event = field(default_factory=threading.Event)
    _threads: dict[str, ThreadPoolExecutor] = field(default_factory=dict)  # by graph

    @asynccontextmanager
    async def loaded(self, missing: NotLoadedError, seconds: float = math.inf) -> AsyncIterator[None]:
        """Wait until the version can be asked for, no longer than `seconds`; within the context no other load takes its
        slot.

        Raises ApiError (503): it takes too long, or cannot be.
        """
        load = self._join(missing)
        try:
            await _waited(load, missing.served.version, min(seconds, PATIENCE_SECONDS))
            yield
        finally:
            with self._lock:
                load.waiting -= 1
                if not load.waiting:
                    load.left.set()

    def close(self) -> None:
        """Start no further load, and give up the one that waits for a slot."""
        self._closed.set()
        with self._lock:
            for thread in self._threads.values():
                thread.shutdown(wait=False, cancel_futures=True)

    def _join(self, missing: NotLoadedError) -> _Load:
        key = graph, _ = missing.served.graph, missing.served.version
        with self._lock:
            if key not in self._loading:
                if sum(each == graph for each, _ in self._loading) >= MOST_WAITING:
                    raise _busy("Too many versions wait to be loaded.")
                if graph not in self._threads:
                    self._threads[graph] = ThreadPoolExecutor(1, "pawl-load-version")
                self._threads[graph].submit(self._work, missing, key, load := _Load())
                self._loading[key] = load
            load = self._loading[key]
            load.waiting += 1
            load.left.clear()
            return load

    def _work(self, missing: NotLoadedError, key: tuple[str, str], load: _Load) -> None:
        error: BaseException | None = None
        try:
            self._publish(missing)
            metrics.RELOADS.inc()
        except BaseException as caught:
            error = caught
        with self._lock:
            self._loading.pop(key, None)
        if error is None:
            load.over.set_result(None)
            load.left.wait(PATIENCE_SECONDS)  # else the next one might take the slot before a request holds it
        else:
            load.over.set_exception(error)
        with self._lock:
            graph, _ = key
            if not any(each == graph for each, _ in self._loading) and graph in self._threads:
                self._threads.pop(graph).shutdown(wait=False)  # this one, which ends: graphs come and go

    def _publish(self, missing: NotLoadedError) -> None:
        slot_file = self.artifacts.fetch_file(missing.served.slot_file or "")
        began = time.monotonic()
        while True:
            waited = time.monotonic() - began
            try:
                return missing.host.engine.publish(missing.served.version, slot_file, insist=waited > TURN_SECONDS)
            except NoFreeSlotError:
                if waited > LOAD_SECONDS or self._closed.wait(LOOK_SECONDS):
                    raise


async def _waited(load: _Load, version: str, seconds: float) -> None:
    over = asyncio.wrap_future(load.over)
    # Who has left does not ask how it ended, and asyncio would report a failure that nobody asked for.
    over.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        await asyncio.wait_for(asyncio.shield(over), seconds)
    except TimeoutError as error:
        raise _busy(f"Version {version[:12]} is still being loaded.") from error
    except NoFreeSlotError as error:
        raise _busy(f"Version {version[:12]} is not loaded: {error}.") from error
    except (PawlError, OSError) as error:
        log.warning("a deployed version cannot be loaded again", version=version, reason=str(error))
        raise _busy(f"Version {version[:12]} cannot be loaded: {error}.") from error


def _busy(text: str) -> errors.ApiError:
    return errors.unavailable(f"{text} Try again.", "version_loading", 1)
