"""Loads again, when it is asked for, a version that had to make room for others."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
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
LOOK_SECONDS = 0.02
MOST_WAITING = 16


@dataclass
class NotLoadedError(Exception):
    """A deployed version that is not in a slot."""

    host: Host
    served: DeployedVersion


@dataclass
class Residency:
    """One load at a time; requests for one version share its load."""

    artifacts: Artifacts
    _loading: dict[str, Future[None]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "pawl-load-version"))

    async def load(self, missing: NotLoadedError) -> None:
        """Wait until the version can be asked for. Raises ApiError (503): it takes too long, or cannot be."""
        version = missing.served.version
        with self._lock:
            if version not in self._loading:
                if len(self._loading) >= MOST_WAITING:
                    raise _busy("Too many versions wait to be loaded.")
                self._loading[version] = self._pool.submit(self._work, missing)
            loading = self._loading[version]
        waited = asyncio.wrap_future(loading)
        # Who has left does not ask how it ended, and asyncio would report a failure that nobody asked for.
        waited.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.wait_for(asyncio.shield(waited), PATIENCE_SECONDS)
        except TimeoutError as error:
            raise _busy(f"Version {version[:12]} is still being loaded.") from error
        except NoFreeSlotError as error:
            raise _busy(f"Version {version[:12]} is not loaded: {error}.") from error
        except (PawlError, OSError) as error:
            log.warning("a deployed version cannot be loaded again", version=version, reason=str(error))
            raise _busy(f"Version {version[:12]} cannot be loaded: {error}.") from error

    def close(self) -> None:
        """Start no further load."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(self, missing: NotLoadedError) -> None:
        try:
            slot_file = self.artifacts.fetch_file(missing.served.slot_file or "")
            give_up = time.monotonic() + PATIENCE_SECONDS
            while True:
                try:
                    missing.host.engine.publish(missing.served.version, slot_file)
                    break
                except NoFreeSlotError:
                    if time.monotonic() > give_up:
                        raise
                    time.sleep(LOOK_SECONDS)
            metrics.RELOADS.inc()
        finally:
            with self._lock:
                self._loading.pop(missing.served.version, None)


def _busy(text: str) -> errors.ApiError:
    return errors.unavailable(f"{text} Try again.", "version_loading", 1)
