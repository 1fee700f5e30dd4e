"""A backup of a running monitor on a real Kafka, restored on an empty machine: all is there, and it goes on."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from support.monitor import BASE, MODEL, interaction

from pawl_cli.backups.files import BackupError, Manifest, digest_of, read_manifest
from pawl_cli.backups.make import Running, make
from pawl_cli.backups.restore import restore
from pawl_cli.monitor_client import MonitorClient
from pawl_cli.running.embedded_kafka import EmbeddedKafka
from pawl_monitor.app import build
from pawl_monitor.server import MonitorService
from pawl_monitor.settings import MonitorSettings
from pawl_shared import events as e
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Message
from pawl_shared.clock import SystemClock
from pawl_shared.codec import encode
from pawl_shared.topics import STREAMS_STATE, TOPICS, VALIDATOR_STATE

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

STATE = [
    Message(VALIDATOR_STATE.name, b"a", b"1", (("h", b"\xff"),)),
    Message(VALIDATOR_STATE.name, b"b", b"2"),
    Message(VALIDATOR_STATE.name, b"a", None),
]

# The joins choose partitions by session, whatever the key's own would be.
JOINS = [Message(STREAMS_STATE.name, b'"an answer"', b"%d" % part, (), part) for part in (5, 0, 5)]


def until(condition: Callable[[], object], what: str) -> None:
    give_up = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < give_up, what
        time.sleep(0.1)


@contextmanager
def running(data: Path) -> Iterator[tuple[KafkaBus, MonitorService]]:
    """A broker and a monitor on a data folder, as `pawl up` lays it out."""
    with EmbeddedKafka(data / "kafka") as broker:
        bus = KafkaBus(broker.bootstrap_servers)
        bus.create_topics(TOPICS)
        settings = MonitorSettings(
            data_dir=data,
            kafka_bootstrap_servers=broker.bootstrap_servers,
            http_port=0,
            tick_seconds=0.3,
            session_gap_seconds=0.5,
        )
        service, stop = build(settings), threading.Event()
        thread = threading.Thread(target=service.run, args=(stop,))
        thread.start()
        try:
            until(lambda: service.url and service.health.ready, "the monitor is not ready")
            yield bus, service
        finally:
            stop.set()
            thread.join(60)
        assert not thread.is_alive()


def deployment() -> e.DeploymentChanged:
    champion = e.DeployedVersion(version=BASE, base=BASE, graph="d" * 64)
    return e.DeploymentChanged(
        id=UUID(int=1),
        time=SystemClock().now(),
        source="test",
        model=MODEL,
        revision=1,
        champion=champion,
        change="registered",
    )


def send(bus: KafkaBus, *messages: Message) -> None:
    producer = bus.producer("test")
    for message in messages:
        producer.send(message).result(30)
    producer.close()


def counts(service: MonitorService) -> tuple[int, int, int]:
    found = service.reader.counts(MODEL, SystemClock().now())
    return found["answers"], found["feedback"], found["sessions"]


def test_what_was_restored_is_whole_and_goes_on(tmp_path: Path) -> None:
    old, new, kept = tmp_path / "old", tmp_path / "new", tmp_path / "kept"
    now = SystemClock().now()
    events = [event for n in range(20) for event in interaction(n, now, reward=float(n % 2))]
    with running(old) as (bus, service):
        artifacts = ArtifactStore(f"file://{old / 'artifacts'}", old / "artifact-cache")
        digest = artifacts.put_bytes(b"an adapter")
        send(bus, encode(deployment()), *STATE, *JOINS, *(encode(event) for event in events))
        until(lambda: counts(service) == (20, 20, 20), "not everything was read")
        before = facts(service)
        pawl = Running(bus, MonitorClient(service.url or ""), old, f"file://{old / 'artifacts'}")
        manifest = make(pawl, kept, lambda *_: None)
        assert (manifest.records["pawl.deployments"], manifest.artifacts, manifest.notes) == (1, 1, [])
        assert (kept / "keys" / "master.keys").read_bytes() == (old / "keys" / "master.keys").read_bytes()
        refused = httpx.post(f"{service.url}/api/backup")
        assert refused.status_code == 403
        with pytest.raises(BackupError, match="not empty"):
            make(pawl, kept, lambda *_: None)
        elsewhere = make(replace(pawl, artifacts="s3://bucket/pawl"), tmp_path / "without", lambda *_: None, keys=False)
        assert (elsewhere.artifacts, len(elsewhere.notes)) == (0, 2)
        assert "s3://bucket/pawl" in elsewhere.notes[1]
        shutil.rmtree(old / "keys")  # as where PAWL_MASTER_KEYS names a file elsewhere
        without = make(pawl, tmp_path / "apart", lambda *_: None)
        assert "PAWL_MASTER_KEYS" in without.notes[0]
    restore(kept, new, lambda *_: None)
    with pytest.raises(BackupError, match="not empty"):
        restore(kept, new, lambda *_: None)
    with running(new) as (bus, service):
        assert facts(service) == before
        assert ArtifactStore(f"file://{new / 'artifacts'}", new / "cache").read_bytes(digest) == b"an adapter"
        assert [(r.key, r.value, r.headers) for r in bus.read(VALIDATOR_STATE.name) if r] == [
            (m.key, m.value, m.headers) for m in STATE
        ]
        restored = [(r.partition, r.key, r.value) for r in bus.read(STREAMS_STATE.name) if r]
        assert sorted(restored) == sorted((m.partition or 0, m.key, m.value) for m in JOINS)
        again = interaction(3, now, reward=1.0)
        fresh = interaction(99, now, reward=1.0)
        send(bus, *(encode(event) for event in (*again, *fresh)))
        until(lambda: counts(service) == (21, 21, 21), "it does not go on")
        assert service.reader.span(MODEL)[2] == 21
        usage = service.reader.usage(MODEL, now - timedelta(days=1))
        assert sum(row["answers"] for row in usage) == sum(row["rated"] for row in usage) == 21


def facts(service: MonitorService) -> list[object]:
    """What must be the same afterwards."""
    reader, id_of = service.reader, str(interaction(3, SystemClock().now())[0].inference_id)
    answer = reader.interaction(id_of)
    assert answer is not None
    for row in (answer, *answer["feedback_events"]):
        del row["part"], row["position"]  # they mean other records after a restore
    deployments = [row["value"] for row in reader.records(MODEL, (e.DeploymentChanged.TYPE,))]
    return [answer, deployments, reader.watched(MODEL), reader.span(MODEL), reader.models.all(), reader.summary(MODEL)]


def test_a_changed_or_missing_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "database.duckdb").write_bytes(b"x")
    Manifest("now", {}, {}, {"database.duckdb": digest_of(tmp_path / "database.duckdb")}, 0).write(tmp_path)
    assert read_manifest(tmp_path).taken == "now"
    (tmp_path / "database.duckdb").write_bytes(b"y")
    with pytest.raises(BackupError, match="changed since"):
        read_manifest(tmp_path)
    with pytest.raises(BackupError, match="no backup"):
        restore(tmp_path / "nothing", tmp_path / f"data-{uuid4()}", lambda *_: None)
