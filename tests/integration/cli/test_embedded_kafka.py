"""The embedded broker on its own data folder: what it stores is there after a restart, on the same cluster."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

from pawl_cli.running import embedded_kafka
from pawl_cli.running.embedded_kafka import EmbeddedKafka, KafkaStartError, answers
from pawl_shared.buses.kafka_settings import KafkaSettings

pytestmark = pytest.mark.kafka


def cluster_id(servers: str) -> str:
    client = KafkaAdminClient(bootstrap_servers=servers)
    try:
        return str(client.describe_cluster()["cluster_id"])
    finally:
        client.close()


def write(servers: str, topic: str, value: bytes) -> None:
    client = KafkaAdminClient(bootstrap_servers=servers)
    client.create_topics([NewTopic(topic, 1, 1)])
    client.close()
    producer = KafkaProducer(bootstrap_servers=servers, acks="all")
    producer.send(topic, value).get(timeout=60)
    producer.close()


def read(servers: str, topic: str) -> bytes:
    consumer = KafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest", consumer_timeout_ms=60_000)
    try:
        return bytes(next(consumer).value)
    finally:
        consumer.close()


def test_data_ports_and_cluster_are_kept_between_runs(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path) as broker:
        first = broker.bootstrap_servers
        identity = cluster_id(first)
        write(first, "kept", b"still here")
    assert not answers(KafkaSettings(kafka_bootstrap_servers=first))

    with EmbeddedKafka(tmp_path) as broker:
        assert broker.bootstrap_servers == first
        assert cluster_id(first) == identity
        assert read(first, "kept") == b"still here"
        assert broker.pid is not None
        assert any("AOTCache=" in word for word in psutil.Process(broker.pid).cmdline())
    assert "[aot]" not in broker.log.read_text(), "the JVM did not take what kafka_classes made"


def test_a_broker_that_dies_at_once_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_kafka, "PROPERTIES", embedded_kafka.PROPERTIES + "num.partitions=none\n")
    with pytest.raises(KafkaStartError, match=r"num\.partitions"):
        EmbeddedKafka(tmp_path).start()


@pytest.fixture
def pawl_kafka(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`pawl kafka` as a process that says that it is ready, and the pid of its JVM."""
    command = [sys.executable, "-m", "pawl_cli", "kafka", "--data", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        assert any("Ready at" in line for line in process.stdout)
        jvm = [child.pid for child in psutil.Process(process.pid).children() if "java" in child.name()]
        yield process, jvm[0]
    finally:
        process.kill()
        process.communicate()


def test_the_broker_dies_with_a_killed_supervisor(pawl_kafka: tuple[subprocess.Popen[str], int]) -> None:
    process, jvm = pawl_kafka
    process.kill()
    process.wait()
    psutil.wait_procs([psutil.Process(jvm)] if psutil.pid_exists(jvm) else [], timeout=20)
    assert not psutil.pid_exists(jvm) or psutil.Process(jvm).status() == psutil.STATUS_ZOMBIE


def test_ctrl_c_stops_the_broker_in_order(pawl_kafka: tuple[subprocess.Popen[str], int], tmp_path: Path) -> None:
    process, jvm = pawl_kafka
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert not psutil.pid_exists(jvm)
    assert process.stdout is not None
    assert "stopped by SIGINT" in process.stdout.read()
    assert "shut down completed" in (tmp_path / "kafka" / "broker.log").read_text()


def test_a_session_broker_is_shared(kafka: str) -> None:
    assert answers(KafkaSettings(kafka_bootstrap_servers=kafka))
