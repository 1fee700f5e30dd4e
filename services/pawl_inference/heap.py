"""Memory that was freed goes back to the system; the C library keeps what lies below anything that is used."""

from __future__ import annotations

import ctypes
import threading

EVERY_SECONDS = 60.0
_LIBC = ctypes.CDLL(None)


def give_back() -> None:
    """Let glibc give back every free page (malloc_trim(3)): 0.2 to 2 ms, in which no other thread gets memory. Other C
    libraries do without."""
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)


class HeapKeeper:
    """A thread that does so every minute: what a peak took is not kept for good."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heap-keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, at once."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(EVERY_SECONDS):
            give_back()
