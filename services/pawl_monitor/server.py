"""The running monitor: the runner and the ticker in threads, the web server in front, and an orderly end."""

from __future__ import annotations

import threading

from fastapi import FastAPI

from pawl_monitor.settings import MonitorSettings
from pawl_monitor.storage.cursors import Cursors
from pawl_monitor.storage.housekeeping import Housekeeping
from pawl_monitor.storage.reader import Reader
from pawl_monitor.ticker import Ticker
from pawl_shared.buses.port import Bus
from pawl_shared.clock import Clock
from pawl_shared.running.runner import Runner
from pawl_shared.sealed.key_topic import KeyFollower
from pawl_shared.service import Health, listen
from pawl_shared.web_server import serve


class MonitorService:
    """Everything that runs. `asgi` and `url` are for tests and for whoever embeds it."""

    def __init__(
        self,
        settings: MonitorSettings,
        bus: Bus,
        runner: Runner,
        keys: KeyFollower,
        asgi: FastAPI,
        health: Health,
        reader: Reader,
        cursors: Cursors,
        clock: Clock,
        source: str,
    ) -> None:
        self._settings, self._bus, self._runner, self._keys = settings, bus, runner, keys
        self.asgi, self.health, self.reader = asgi, health, reader
        self._cursors, self._clock, self._source = cursors, clock, source
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self.url: str | None = None

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set. Raises what the runner raised, so that a supervisor starts it again.

        Raises:
            ConfigurationError: the port is taken.
        """
        listener = listen(self._settings)
        self.url = "http://{}:{}".format(*listener.getsockname()[:2])
        working = threading.Thread(target=self._work, args=(stop,), name="runner")
        ticker = self._ticker()
        self._keys.start()
        working.start()
        ticker.start()
        housekeeping = Housekeeping(self._cursors, self._settings.kept, self._clock, self._ended)
        housekeeping.start()
        try:
            serve(
                self.asgi,
                listener,
                lambda: stop.is_set() or self._ended.is_set(),
                ending=self.asgi.state.feed.close,
            )
        finally:
            stop.set()
            self.health.wait_for("stop", "the service is stopping")
            self._ended.set()
            working.join()
            ticker.join()
            housekeeping.join()
            self._keys.stop()
            self._cursors.close()
        if self._failure is not None:
            raise self._failure

    def _work(self, stop: threading.Event) -> None:
        try:
            self._runner.run(stop)
        except BaseException as error:
            self._failure = error
        finally:
            self._ended.set()

    def _ticker(self) -> Ticker:
        producer = self._bus.producer(f"{self._source}-ticks")
        return Ticker(
            producer,
            self.reader.models.all,
            self._settings.tick_seconds,
            self._clock,
            self._source,
            self._ended,
            lambda: self._runner.behind,
        )
