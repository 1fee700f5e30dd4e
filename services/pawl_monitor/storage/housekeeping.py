"""Rollups and retention, beside the runner: a thread with a cursor of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import timedelta

import duckdb

from pawl_monitor import metrics
from pawl_monitor.storage import retention, rollups
from pawl_shared import logging
from pawl_shared.clock import Clock

EVERY_SECONDS = 60.0


class Housekeeping(threading.Thread):
    """Runs a pass at its start and then every minute. The runner only appends to what is deleted here, so that the two
    never want to change the same row."""

    def __init__(
        self,
        cursors: Callable[[], duckdb.DuckDBPyConnection],
        kept: Mapping[str, timedelta | None],
        clock: Clock,
        stop: threading.Event,
        seconds: float = EVERY_SECONDS,
    ) -> None:
        super().__init__(name="housekeeping", daemon=True)
        self._cursors, self._kept, self._clock = cursors, kept, clock
        self._stop_event, self._seconds = stop, seconds
        self._log = logging.get("pawl.monitor")

    def run(self) -> None:
        while not self._stop_event.is_set():
            try:
                self.work()
            except Exception:
                # Nothing depends on this pass: readers see every row without it, and the next one does its work.
                self._log.exception("housekeeping failed")
            self._stop_event.wait(self._seconds)

    def work(self) -> None:
        """One pass."""
        cursor = self._cursors()
        try:
            rollups.roll(cursor)
            metrics.EXPIRED.inc(retention.expire(cursor, self._clock.now(), self._kept))
        finally:
            cursor.close()
