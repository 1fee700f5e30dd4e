"""The embedded broker on its own data folder: what it stores is there after a restart, on the same cluster."""

from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

from pawl_cli import embedded_kafka
from pawl_cli.embedded_kafka import EmbeddedKafka, KafkaStartError, answers

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
    producer.send(topic, value).get(timeout=10)
    producer.close()


def read(servers: str, topic: str) -> bytes:
    consumer = KafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest", consumer_timeout_ms=10_000)
    try:
        return bytes(next(consumer).value)
    finally:
        consumer.close()


def test_data_ports_and_cluster_are_kept_between_runs(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path) as broker:
        first = broker.bootstrap_servers
        identity = cluster_id(first)
        write(first, "kept", b"still here")
    assert not answers(first)

    with EmbeddedKafka(tmp_path) as broker:
        assert broker.bootstrap_servers == first
        assert cluster_id(first) == identity
        assert read(first, "kept") == b"still here"


def test_a_broker_that_dies_at_once_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_kafka, "PROPERTIES", embedded_kafka.PROPERTIES + "num.partitions=none\n")
    with pytest.raises(KafkaStartError, match=r"num\.partitions"):
        EmbeddedKafka(tmp_path).start()


def test_a_session_broker_is_shared(kafka: str) -> None:
    assert answers(kafka)
