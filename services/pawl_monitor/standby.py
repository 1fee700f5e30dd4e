"""A second monitor beside the first: it waits until the database is free, and then is the monitor.

The file's lock decides, which the operating system gives back the moment its holder dies. With the same PAWL_INSTANCE
as the first, the new one also takes its place in the consumer group at once instead of after its session's 10 s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pawl_monitor.settings import MonitorSettings
from pawl_monitor.storage.duckdb_store import DatabaseInUseError
from pawl_shared import logging
from pawl_shared.service import Health, Service, serve_health

ASK_SECONDS = 0.25


class StandbyMonitor:
    """Builds the monitor as soon as it can be built, and runs it."""

    def __init__(self, settings: MonitorSettings, make: Callable[[MonitorSettings], Service]) -> None:
        self._settings, self._make = settings, make
        self._log = logging.get("pawl.monitor")

    def run(self, stop: threading.Event) -> None:
        """Wait, answering probes as not ready, then work until `stop` is set."""
        try:
            service: Service | None = self._make(self._settings)
        except DatabaseInUseError as error:
            service = self._wait(error, stop)
        if service is not None:
            service.run(stop)

    def _wait(self, reason: DatabaseInUseError, stop: threading.Event) -> Service | None:
        health = Health("monitor")
        health.clear("start")
        health.wait_for("standby", f"standby: {reason.holder} has the database; this one takes over when that ends")
        self._log.info("standby", holder=reason.holder)
        server = serve_health(health, self._settings)
        try:
            while not stop.wait(ASK_SECONDS):
                try:
                    service = self._make(self._settings)
                except DatabaseInUseError:
                    continue
                self._log.info("takes over")
                return service
            return None
        finally:
            server.shutdown()
            server.server_close()
