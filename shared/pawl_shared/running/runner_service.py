"""A service that is a runner with its probes beside it: what a service without an API of its own is."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from pawl_shared.buses.port import Bus
from pawl_shared.running.runner import Runner
from pawl_shared.service import Health, serve_health
from pawl_shared.settings import PawlSettings


@dataclass(frozen=True)
class RunnerService:
    """What such a service's app.build() answers."""

    settings: PawlSettings
    runner: Runner
    health: Health
    bus: Bus

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; work outside the process is ended then, and begins again with the next start."""
        server = serve_health(self.health, self.settings)
        try:
            self.runner.run(stop)
        finally:
            server.shutdown()
            server.server_close()
            self.bus.close()
