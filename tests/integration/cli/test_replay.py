"""`pawl replay` on a real log: a validator decides on Kafka, and its decisions come out the same or do not."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from uuid import NAMESPACE_OID, uuid5

import pytest
from benchmarks.simulated.actors import BASE, MODEL
from benchmarks.simulated.faults import Faults
from benchmarks.simulated.work import Evaluate, Register
from support.samples import SAMPLES
from typer.testing import CliRunner

from pawl_cli.__main__ import app
from pawl_cli.log import follow, policies
from pawl_cli.running.embedded_kafka import EmbeddedKafka
from pawl_monitor.app import build as build_monitor
from pawl_monitor.settings import MonitorSettings
from pawl_shared import events as e
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.codec import decode, encode
from pawl_shared.policies.model_policy import Canary, ModelPolicy
from pawl_shared.topics import DEPLOYMENTS, MODELS, TOPICS
from pawl_validator.app import build
from pawl_validator.handlers.candidates import EVALUATE
from pawl_validator.handlers.folds import REGISTER
from pawl_validator.settings import ValidatorSettings

START = datetime(2026, 1, 1, tzinfo=UTC)
TOLD = 12  # times that 120 sessions of two versions are told, each ten sessions
ADAPTER, SECOND = f"{7:064x}", f"{8:064x}"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One of its own: what other tests leave on a shared one are decisions without their causes."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka.bootstrap_servers


def sample(kind: type[e.Event]) -> e.Event:
    return next(event for event in SAMPLES if isinstance(event, kind))


def publish(bus: KafkaBus, *events: e.Event) -> None:
    producer = bus.producer("test")
    for event in events:
        producer.send(encode(event)).result(30)
    producer.close()


def deployments(bus: KafkaBus) -> list[e.DeploymentChanged]:
    events = [decode(record) for record in bus.read(DEPLOYMENTS.name) if record is not None]
    return [event for event in events if isinstance(event, e.DeploymentChanged)]


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up, "did not happen"
        time.sleep(0.1)


def session(number: int, canary: e.DeploymentChanged) -> e.SessionObserved:
    tried = number % 2 == 0
    served = canary.challenger if tried and canary.challenger else canary.champion
    time_of = START + timedelta(seconds=number)
    return e.SessionObserved(
        id=uuid5(NAMESPACE_OID, f"session {number}"), time=time_of, source="test", model=MODEL, session=str(number),
        arm="challenger" if tried else "champion", version=served.version, canary=canary.canary,
        revision=canary.revision, reward=float(tried), answers=1, rated=1, started=time_of, ended=time_of,
    )  # fmt: skip


def decide(servers: str, folder: Path) -> None:
    """Register a base, try an adapter, and promote it."""
    bus = KafkaBus(servers)
    bus.create_topics(TOPICS)
    settings = ValidatorSettings(kafka_bootstrap_servers=servers, data_dir=folder, http_port=0)
    handlers = {REGISTER: Register(), EVALUATE: Evaluate(Faults(Random(1), 0))}
    stop = threading.Event()
    monitor = MonitorSettings(kafka_bootstrap_servers=servers, data_dir=folder, http_port=0)
    services = [build(settings, bus=bus, handlers=handlers), build_monitor(monitor, bus=bus)]
    threads = [threading.Thread(target=service.run, args=[stop]) for service in services]
    for thread in threads:
        thread.start()
    try:
        register = sample(e.RegisterModelCommand).model_copy(update={"model": MODEL})
        trained = sample(e.AdapterTrained).model_copy(update={"model": MODEL, "adapter": ADAPTER, "base": BASE})
        policies.apply(bus, ModelPolicy(model=MODEL, canary=Canary(share=0.5)), "ada", "to see something soon")
        publish(bus, register)
        until(lambda: len(deployments(bus)) == 1)
        publish(bus, trained)
        until(lambda: len(deployments(bus)) == 2)
        publish(bus, *(session(number, deployments(bus)[1]) for number in range(120)))
        until(lambda: len(deployments(bus)) == 3)
        policies.apply(bus, ModelPolicy(model=MODEL, canary=Canary(share=0.2)), "ada", "enough was seen")
        publish(
            bus,
            trained.model_copy(
                update={"id": uuid5(trained.id, "2"), "run": uuid5(trained.id, "run 2"), "adapter": SECOND}
            ),
        )
        until(lambda: len(deployments(bus)) == 4)
        until(lambda: sum(isinstance(event, e.VersionObserved) for event in follow.everything(bus, MODELS)) == TOLD)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


@pytest.mark.kafka
@pytest.mark.slow
def test_decisions_come_out_the_same_and_a_forged_one_does_not(broker: str, tmp_path: Path) -> None:
    decide(broker, tmp_path)
    words = ["replay", "--kafka-bootstrap-servers", broker, "--data", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    monitor, validator = json.loads(result.stdout)["services"]
    assert validator["decisions"]["pawl.deployment.changed.v1"] == 4
    assert monitor["records"] >= 120
    assert monitor["decisions"]["pawl.version.observed.v1"] == TOLD

    bus = KafkaBus(broker)
    found = deployments(bus)
    assert [round(event.share, 3) for event in found] == [0, 0.5, 0, 0.2]
    assert len({event.policy for event in found}) == 2, "each names the policy that was valid"
    promoted = found[2]
    forged = promoted.model_copy(update={"id": uuid5(promoted.id, "forged"), "revision": 5, "change": "rolled-back"})
    publish(bus, forged)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 3, result.output
    (difference,) = json.loads(result.stdout)["services"][1]["differences"]
    assert difference["id"] == str(forged.id)
