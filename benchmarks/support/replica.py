"""Inference services as processes on SmolLM2-135M and a broker: what apps would talk to, and nothing else.

The deployment is put on the log by hand. A replica whose name begins with "switched" does not write down what it
answers while its file of `unlogged` exists, to measure what that costs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import httpx

from pawl_cli.running import ports
from pawl_cli.running.embedded_kafka import EmbeddedKafka
from pawl_cli.running.process import STEADY_HEAP, Program
from pawl_inference import app
from pawl_inference.record.answer_log import AnswerLog
from pawl_inference.settings import InferenceSettings
from pawl_shared import events as e
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.clock import SystemClock
from pawl_shared.codec import encode
from pawl_shared.models.graph_spec import read_spec
from pawl_shared.service import run_service
from pawl_shared.topics import TOPICS

MODEL = "default/assistant"
PATIENCE_SECONDS = 180.0
UNLOGGED = "BENCHMARK_UNLOGGED"


class Replicas:
    """Started by start(), ended by close(). `settings`: PAWL_* variables of all of them."""

    def __init__(self, folder: Path, graph: Path, names: Sequence[str], settings: Mapping[str, str]) -> None:
        self._folder, self._graph, self._names, self._settings = folder, graph, names, settings
        self._broker = EmbeddedKafka(folder / "kafka")
        self.programs: dict[str, Program] = {}
        self.ports: dict[str, int] = {}

    def start(self) -> None:
        """All answer."""
        self._broker.start()
        bus = KafkaBus(self._broker.bootstrap_servers)
        bus.create_topics(TOPICS)
        data = self._folder / "data"
        graph = ArtifactStore(f"file://{data / 'artifacts'}", data / "artifact-cache").put_folder(self._graph)
        base = read_spec(self._graph).base
        deployment = e.DeploymentChanged(
            id=uuid4(), time=SystemClock().now(), source="benchmark", model=MODEL, revision=1, change="registered",
            champion=e.DeployedVersion(version=base, base=base, graph=graph),
        )  # fmt: skip
        bus.producer("benchmark").send(encode(deployment)).result(30)
        self.ports = ports.choose(self._folder / "ports.json", dict.fromkeys(self._names, 0))
        for name in self._names:
            own = {"PAWL_HTTP_PORT": str(self.ports[name]), "PAWL_INSTANCE": name, "PAWL_DATA_DIR": str(data)}
            own |= {"PAWL_KAFKA_BOOTSTRAP_SERVERS": self._broker.bootstrap_servers, **self._settings}
            own |= {UNLOGGED: str(self.unlogged(name)), **STEADY_HEAP}
            module = "benchmarks.support.replica" if name.startswith("switched") else "pawl_inference"
            self.programs[name] = Program(name, [sys.executable, "-m", module], self._folder / f"{name}.log", own)
            self.programs[name].start()
        for name in self._names:
            self._until_ready(name)

    def close(self) -> None:
        """End every process."""
        for program in self.programs.values():
            program.kill()
        self._broker.stop()

    def unlogged(self, name: str) -> Path:
        """The switch of a replica whose name begins with "switched"."""
        return self._folder / f"{name}.unlogged"

    def pid(self, name: str) -> int:
        """The process that serves. Raises RuntimeError when it has ended."""
        program = self.programs[name]
        if program.pid is None or program.poll() is not None:
            raise RuntimeError(f"{name} has ended:\n{program.log_tail()}")
        return program.pid

    def _until_ready(self, name: str) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up and self.programs[name].poll() is None:
            try:
                if httpx.get(f"http://{ports.HOST}:{self.ports[name]}/readyz", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise TimeoutError(f"{name} is not ready:\n{self.programs[name].log_tail()}")


class SwitchedLog(AnswerLog):
    """While the switch is there nothing is sealed, encoded, written or forwarded."""

    def append(self, event: e.Event) -> None:
        """Write an event, or forget it."""
        if not os.path.exists(os.environ[UNLOGGED]):  # noqa: PTH110 (1 us, where Path takes 4)
            super().append(event)


if __name__ == "__main__":
    setattr(app, "AnswerLog", SwitchedLog)  # noqa: B010 (to mypy the name belongs to another module)
    os.environ.setdefault("PAWL_LOG_LEVEL", "WARNING")
    run_service("inference", InferenceSettings, app.build)
