"""Brokers that ask for a login, for TLS, or for both: the bus, the joins, and what a wrong password looks like."""

import logging
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.secured_kafka import PASSWORD, SCRAM, USER, Secured, secured_kafka
from support.streams import Streams, inference, message, publish, revisions, until

from pawl_shared.buses import kafka_clients
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.kafka_settings import KafkaSettings
from pawl_shared.buses.port import Message
from pawl_shared.errors import BusError
from pawl_shared.topics import TOPICS, Topic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured_kafka(tmp_path_factory.mktemp("secured")) as broker:
        yield broker


def environment(secured: Secured, protocol: str) -> dict[str, str]:
    """PAWL_* as an operator sets them."""
    given = {"bootstrap_servers": secured.servers[protocol], "security_protocol": protocol}
    if protocol.startswith("SASL"):
        mechanism = "PLAIN" if protocol == "SASL_PLAINTEXT" else SCRAM
        given |= {"sasl_mechanism": mechanism, "sasl_username": USER, "sasl_password": PASSWORD}
    if protocol.endswith("SSL"):
        given["ssl_ca_location"] = str(secured.authority)
    if protocol == "SSL":
        given |= {"ssl_certificate_location": str(secured.certificate), "ssl_key_location": str(secured.key)}
    return {f"PAWL_KAFKA_{name.upper()}": value for name, value in given.items()}


def settings(secured: Secured, protocol: str, **changed: str | None) -> KafkaSettings:
    given = {name.removeprefix("PAWL_").lower(): value for name, value in environment(secured, protocol).items()}
    return KafkaSettings.model_validate(given | changed)


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL", "SSL"])
def test_all_clients_of_the_bus_are_let_in(secured: Secured, protocol: str) -> None:
    bus, topic, name = KafkaBus.of(settings(secured, protocol)), uuid.uuid4().hex, uuid.uuid4().hex
    bus.create_topics([Topic(topic, "", (), partitions=1)])
    producer = bus.producer("test")
    producer.send(Message(topic, b"k", b"sent")).result(30)
    producer.close()
    transactions = bus.transactions(name)
    consumer = bus.consumer(name, "0", [topic], lambda _: {}, lambda _: None)
    until(lambda: bool(consumer.poll(0.1)))
    transactions.commit([Message(topic, b"k", b"committed")], {}, name)
    assert bus.members(name) == {"0"}
    consumer.close()
    transactions.close()
    assert [record.value for record in bus.read(topic) if record] == [b"sent", b"committed"]
    assert bus.committed(name, [topic]) == {}


def test_faust_is_let_in(secured: Secured, tmp_path: Path) -> None:
    protocol = "SASL_SSL"
    bus, answer = KafkaBus.of(settings(secured, protocol)), inference(uuid.uuid4().hex)
    bus.create_topics(TOPICS)
    streams = Streams(secured.servers[protocol], tmp_path)
    streams.environment |= environment(secured, protocol)
    publish(bus, message(answer))
    streams.start()
    until(lambda: len(revisions(bus, {answer.session})) == 1, streams)
    streams.close()
    assert PASSWORD not in streams.log.read_text()


@pytest.mark.parametrize(
    ("protocol", "changed", "said"),
    [
        ("SASL_PLAINTEXT", {"kafka_sasl_password": "wrong"}, "Invalid username or password"),
        ("SASL_SSL", {"kafka_ssl_ca_location": None}, "broker certificate could not be verified"),
        ("SSL", {"kafka_ssl_certificate_location": None, "kafka_ssl_key_location": None}, "certificate required"),
    ],
)
def test_who_is_refused_is_told_why(
    secured: Secured, protocol: str, changed: dict[str, str | None], said: str,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(kafka_clients, "ANSWER_SECONDS", 1.0)
    bus = KafkaBus.of(settings(secured, protocol, **changed))
    for attempt in (lambda: bus.create_topics(TOPICS), lambda: list(bus.read("any"))):
        caplog.clear()
        give_up = time.monotonic() + 60
        while said not in caplog.text:  # a busy broker may take longer than this client waits
            assert time.monotonic() < give_up, caplog.text
            with caplog.at_level(logging.WARNING), pytest.raises(BusError, match="no Kafka broker answers"):
                attempt()
        assert "wrong" not in caplog.text
