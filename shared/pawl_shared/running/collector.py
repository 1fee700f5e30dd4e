"""The garbage collector, where batches of events are made and thrown away."""

from __future__ import annotations

import gc
import time
from types import TracebackType

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
