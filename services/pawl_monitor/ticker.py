"""Writes time to the log: one Tick a model and interval, so that a replay sees the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from uuid import NAMESPACE_OID, uuid5

from pawl_monitor import metrics
from pawl_shared import logging
from pawl_shared.buses.port import Producer
from pawl_shared.clock import Clock
from pawl_shared.codec import encode
from pawl_shared.events import Tick


class Ticker(threading.Thread):
    """A thread; `models` answers whose time is to pass. It closes the producer when it ends."""

    def __init__(
        self,
        producer: Producer,
        models: Callable[[], Iterable[str]],
        seconds: float,
        clock: Clock,
        source: str,
        stop: threading.Event,
        behind: Callable[[], int | None] = lambda: None,
    ) -> None:
        super().__init__(name="ticker", daemon=True)
        self._producer, self._models, self._seconds = producer, models, seconds
        self._clock, self._source, self._stop_event, self._behind = clock, source, stop, behind
        self._log = logging.get("pawl.monitor")

    def run(self) -> None:
        try:
            self._work()
        finally:
            self._producer.close()

    def _work(self) -> None:
        while not self._stop_event.wait(self._seconds):
            try:
                for model in self._models():
                    event = tick(model, self._clock.now(), self._seconds, self._source, self._behind())
                    self._producer.send(encode(event))
                    metrics.TICKS.inc()
            except Exception:
                # A broker that is away for a while must not end time; the next tick tries again.
                self._log.exception("no tick could be written")


def tick(model: str, now: datetime, seconds: float, source: str, behind: int | None = None) -> Tick:
    """The tick of an interval: numbered from the epoch, so that two monitors write the same one."""
    number = int(now.timestamp() / seconds)
    identity = uuid5(NAMESPACE_OID, f"tick/{model}/{seconds}/{number}")
    return Tick(id=identity, time=now, source=source, model=model, number=number, behind=behind)
