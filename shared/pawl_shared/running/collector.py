"""The garbage collector, where batches of events are made and thrown away, and where answers must not wait for it."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator
from types import TracebackType

# All generations after some 4,000 objects that stayed, 0.4 MB with what hangs on them (by default 77,000).
_OFTEN = (700, 2, 1)
COLLECT_SECONDS = 30.0  # looking through the states that folds keep takes up to 0.3 s


class SeldomCollected:
    """While it is entered, cycles are looked for in now() only, and there every 30 seconds.

    A full batch makes some 200,000 objects that all die with it. Looking through them again and again took half of its
    time (184 us an event instead of 93), and doing so once after each batch a tenth.
    """

    def __init__(self) -> None:
        self._was = gc.isenabled()
        self._last = time.monotonic()

    def __enter__(self) -> SeldomCollected:
        gc.freeze()  # modules and what they made are not looked through
        gc.disable()
        return self

    def now(self) -> None:
        """Collect, if it is time."""
        if time.monotonic() - self._last > COLLECT_SECONDS:
            gc.collect()
            self._last = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.unfreeze()
        if self._was:
            gc.enable()


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """While it is entered, what there was before (modules, what they made) is not looked through, the rest more often.

    Else a service of 110,000 such objects looks through all of them, for 25 to 55 ms, when 70,000 more have come and
    stayed; until then cycles wait that became garbage late. Each client that hangs up leaves one of 130 objects: frames
    of anyio that hold the exception which holds them.
    """
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.collect()  # waits for a quarter of what this finds, too
    gc.set_threshold(*_OFTEN)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
