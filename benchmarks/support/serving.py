"""A broker, a real validator and inference replicas as processes, with a tiny model; gates and training are made up.

The validator's fold, runner and store are the real ones: only the work that its effects stand for (an export, the
gates) is looked up in a catalogue, so that any number of candidates is ready at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

import httpx
import numpy as np
from benchmarks.support.tiny_model import write_random_tiny

from pawl_cli.log.outcome import Following, carried_out, followed
from pawl_cli.running import ports
from pawl_cli.running.embedded_kafka import EmbeddedKafka
from pawl_cli.running.process import STEADY_HEAP, Program
from pawl_shared import events as e
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Record
from pawl_shared.clock import SystemClock
from pawl_shared.codec import decode, encode
from pawl_shared.ids import derived_id
from pawl_shared.models import slot_format, tensor_file
from pawl_shared.running.effects import EffectContext, EffectHandler
from pawl_shared.service import run_service
from pawl_shared.stores.port import Effect
from pawl_shared.topics import CANDIDATES, DEPLOYMENTS, TOPICS

MODEL, BASE = "default/assistant", "b" * 64
CATALOGUE = "PAWL_BENCHMARK_CATALOGUE"
PATIENCE_SECONDS = 180.0


def version(number: int) -> str:
    """A candidate's made-up digest."""
    return sha256(f"candidate {number}".encode()).hexdigest()


class Serving:
    """Started by start(), ended by close(). `versions`: so many candidates wait to be promoted, and none is tried."""

    def __init__(self, folder: Path, versions: int, replicas: Sequence[str] = ("a", "b")) -> None:
        self._folder, self._versions = folder, versions
        self.data = folder / "data"
        self._broker = EmbeddedKafka(folder / "kafka")
        self.validator: Program
        self.replicas: dict[str, Program] = {}
        self.urls: dict[str, str] = {}
        self._names = replicas
        self.bus: KafkaBus

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Everything is up, the base serves on all replicas, and every candidate waits."""
        self._broker.start()
        self.bus = KafkaBus(self.servers)
        self.bus.create_topics(TOPICS)
        catalogue = self._artifacts()
        environment = self._environment | {CATALOGUE: str(catalogue), "PAWL_HTTP_PORT": "0"}
        command = [sys.executable, "-m", "benchmarks.support.serving"]
        self.validator = Program("validator", command, self._folder / "validator.log", environment)
        self.validator.start()
        self._candidates()
        chosen = ports.choose(self._folder / "ports.json", dict.fromkeys(self._names, 0))
        for name, port in chosen.items():
            own = {"PAWL_HTTP_PORT": str(port), "PAWL_INSTANCE": name, "PAWL_ENGINE_THREADS": "1"}
            log = self._folder / f"{name}.log"
            command = [sys.executable, "-m", "pawl_inference"]
            self.replicas[name] = Program(name, command, log, STEADY_HEAP | self._environment | own)
            self.urls[name] = f"http://{ports.HOST}:{port}"
            self.replicas[name].start()
        for name in self._names:
            self.until_ready(name)

    def close(self) -> None:
        """End every process."""
        for program in (*self.replicas.values(), *([self.validator] if hasattr(self, "validator") else ())):
            program.kill()
        self._broker.stop()

    def until_ready(self, name: str) -> None:
        """Wait for a replica. Raises TimeoutError with the end of its log."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up and self.replicas[name].poll() is None:
            try:
                if httpx.get(f"{self.urls[name]}/readyz", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise TimeoutError(f"replica {name} is not ready:\n{self.replicas[name].log_tail()}")

    def freeze(self, program: Program, frozen: bool = True) -> None:
        """SIGSTOP, or SIGCONT."""
        assert program.pid is not None, "it was started"
        os.killpg(program.pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    @property
    def servers(self) -> str:
        return self._broker.bootstrap_servers

    @property
    def _environment(self) -> dict[str, str]:
        return {"PAWL_KAFKA_BOOTSTRAP_SERVERS": self.servers, "PAWL_DATA_DIR": str(self.data)}

    # ------------------------------------------------------------ what is asked for

    def command(self, cls: type[e.Command], **values: object) -> e.Command:
        """A command of somebody's, not yet sent."""
        now = SystemClock().now()
        return cls(id=uuid4(), time=now, source="benchmark", model=MODEL, who="ada", why="a benchmark", **values)

    def ask(self, cls: type[e.Command], patience: float = PATIENCE_SECONDS, **values: object) -> e.DeploymentChanged:
        """Send one, and wait until every replica that lives follows."""
        record = carried_out(self.bus, self.command(cls, **values), patience)
        following = self.followed(record)
        if following.missing:
            raise TimeoutError(f"not followed: {following.missing}")
        return self.changed(record)

    def followed(self, record: Record, patience: float = PATIENCE_SECONDS) -> Following:
        """Which replicas serve the deployment of a record."""
        return followed(self.bus, record, patience)

    @staticmethod
    def changed(record: Record) -> e.DeploymentChanged:
        """The deployment of a record."""
        event = decode(record)
        assert isinstance(event, e.DeploymentChanged), "the record of a deployment"
        return event

    def deployments(self) -> list[e.DeploymentChanged]:
        """All of them."""
        return [self.changed(record) for record in self.bus.read(DEPLOYMENTS.name) if record is not None]

    # ------------------------------------------------------------ what there is

    def _artifacts(self) -> Path:
        """A tiny base, its serving graph, and random slot files; answers where the catalogue of them lies."""
        from pawl_validator.onnx_export import export_base

        spec = export_base(write_random_tiny(self._folder / "tiny"), self._folder / "graph", base=BASE)
        store = ArtifactStore(f"file://{self.data / 'artifacts'}", self.data / "artifact-cache")
        graph = store.put_folder(self._folder / "graph")
        slots = {}
        for number in range(self._versions):
            random = np.random.default_rng(number)
            arrays: tensor_file.Tensors = {}
            for name, shape in slot_format.file_shapes(spec).items():
                arrays[name] = random.normal(0, 0.02, shape).astype(np.float32)
            path = self._folder / "slots"
            slot_format.write_slots(path, arrays, adapter=version(number), base=BASE, graph=graph, rank=spec.rank)
            slots[version(number)] = store.put_file(path)
        catalogue = self._folder / "catalogue.json"
        catalogue.write_text(json.dumps({"graph": graph, "slots": slots}))
        return catalogue

    def _candidates(self) -> None:
        """Paused, so that none of them is tried by itself."""
        producer = self.bus.producer("benchmark")
        base = self.command(e.RegisterModelCommand, base="tiny")
        producer.send(encode(base)).result(30)
        self._until(DEPLOYMENTS.name, 1)
        self.ask_alone(e.PauseCommand)
        for number in range(self._versions):
            run = uuid5(NAMESPACE_OID, f"run {number}")
            producer.send(encode(_trained(run, version(number))))
        producer.flush()
        producer.close()
        self._until(CANDIDATES.name, 2 * self._versions)

    def ask_alone(self, cls: type[e.Command], **values: object) -> None:
        """Send one where no replica is waited for."""
        carried_out(self.bus, self.command(cls, **values), PATIENCE_SECONDS)

    def _until(self, topic: str, records: int) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while sum(record is not None for record in self.bus.read(topic)) < records:
            if time.monotonic() > give_up or self.validator.poll() is not None:
                raise TimeoutError(f"{topic} has too little on it:\n{self.validator.log_tail()}")
            time.sleep(0.2)


def _trained(run: UUID, adapter: str) -> e.AdapterTrained:
    return e.AdapterTrained(
        id=derived_id(run, "trained"), time=SystemClock().now(), source="benchmark", model=MODEL, run=run,
        adapter=adapter, base=BASE, dataset=BASE, recipe="made up", seed=0, seconds=0,
    )  # fmt: skip


class Catalogue:
    """Does the validator's effects at once: what is registered is the tiny base, and every candidate passes."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._graph: str = content["graph"]
        self._slots: dict[str, str] = content["slots"]

    def register(self, effect: Effect, context: EffectContext) -> Sequence[e.Event]:
        command = e.RegisterModelCommand.model_validate_json(effect.payload)
        return [
            e.ModelRegistered(
                id=derived_id(command.id, "registered"), time=command.time, source="benchmark", model=command.model,
                version=BASE, kind="base", base=BASE, graph=self._graph,
            )
        ]  # fmt: skip

    def evaluate(self, effect: Effect, context: EffectContext) -> Sequence[e.Event]:
        trained = e.AdapterTrained.model_validate(json.loads(effect.payload)["trained"])
        return [
            e.CandidateValidated(
                id=derived_id(trained.id, "verdict"), time=trained.time, source="benchmark", model=trained.model,
                run=trained.run, adapter=trained.adapter, slot_file=self._slots[trained.adapter], graph=self._graph,
                report=BASE, gates=(),
            )
        ]  # fmt: skip


def validator() -> None:
    """The real one, with the catalogue instead of its work."""
    from pawl_validator.app import build
    from pawl_validator.handlers.candidates import EVALUATE
    from pawl_validator.handlers.folds import REGISTER
    from pawl_validator.settings import SERVICE, ValidatorSettings

    catalogue = Catalogue(json.loads(Path(os.environ[CATALOGUE]).read_text()))
    handlers: dict[str, EffectHandler] = {REGISTER: catalogue.register, EVALUATE: catalogue.evaluate}
    run_service(SERVICE, ValidatorSettings, lambda settings: build(settings, handlers=handlers))


if __name__ == "__main__":
    validator()
