"""What only a real broker shows of the Kafka bus: other clients' records, aborted transactions, limits."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import confluent_kafka
import pytest
from kafka import KafkaProducer as OtherProducer

from pawl_shared.buses import kafka_producer
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.kafka_consumer import Feed
from pawl_shared.buses.port import Message, Partition, Record
from pawl_shared.errors import BusError
from pawl_shared.topics import MAX_RECORD_BYTES, Topic

pytestmark = pytest.mark.kafka


@pytest.fixture
def bus(kafka: str) -> KafkaBus:
    return KafkaBus(kafka)


@pytest.fixture
def topic(bus: KafkaBus) -> str:
    name = f"test.{uuid.uuid4().hex}"
    bus.create_topics([Topic(name, "", (), partitions=4)])
    return name


@pytest.fixture
def other(kafka: str) -> Iterator[Any]:
    """A producer of another make."""
    made = OtherProducer(bootstrap_servers=kafka)
    yield made
    made.close()


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "did not happen"


def records(bus: KafkaBus, topic: str) -> list[Record]:
    return [record for record in bus.read(topic) if record]


def test_a_key_has_the_partition_that_other_clients_give_it(bus: KafkaBus, topic: str, other: Any) -> None:
    keys = [b"", b"k", *(b"default/assistant/%d" % n for n in range(40))]
    theirs = [other.send(topic, b"v", key).get(60).partition for key in keys]
    producer = bus.producer("test")
    ours = [producer.send(Message(topic, key, b"v")).result(60).number for key in keys]
    producer.close()
    assert ours == theirs
    assert set(ours) == {0, 1, 2, 3}


class Bytes(str):
    """A header's name that goes out as bytes that are not UTF-8."""

    def encode(self, *_: str) -> bytes:
        return b"\xff\xfe"


def test_headers_that_no_string_can_name_cost_the_record_its_headers_only(
    bus: KafkaBus, topic: str, other: Any
) -> None:
    good, nameless = [("a", b"1"), ("b", b""), ("a", b"2")], [("a", b"1"), (Bytes("x"), b"1"), ("b", b"2")]
    sent = [*[good] * 60, nameless, good, nameless, nameless, *[good] * 60]  # the interpreter changes what runs often
    last = [other.send(topic, b"v", b"k", headers=headers) for headers in sent][-1]
    last.get(60)
    found = [record.headers for record in records(bus, topic)]
    assert found == [() if headers is nameless else tuple(good) for headers in sent]


def test_an_aborted_transaction_is_passed_over_and_counts_as_reached(bus: KafkaBus, topic: str, kafka: str) -> None:
    consumer = bus.consumer("g" + topic, "0", [topic], dict.fromkeys, lambda _: None)
    until(lambda: consumer.poll(0.1) == [] and len(consumer.ends()) == 4)
    transactions = confluent_kafka.Producer({"bootstrap.servers": kafka, "transactional.id": topic})
    transactions.init_transactions(20)
    transactions.begin_transaction()
    for part in range(4):
        transactions.produce(topic, b"aborted", partition=part)
    assert transactions.flush(60) == 0
    ends = consumer.ends()
    assert ends == {Partition(topic, part): 1 for part in range(4)}
    assert consumer.poll(0.5) == []
    assert consumer.reached(ends) == []  # still open
    transactions.abort_transaction(10)
    until(lambda: consumer.poll(0.1) == [] and set(consumer.reached(ends)) == set(ends))
    assert records(bus, topic) == []
    assert consumer.lag() == 0
    consumer.close()


def test_who_catches_up_is_behind_by_what_is_left_and_no_more(bus: KafkaBus, topic: str) -> None:
    producer = bus.producer("test")
    for future in [producer.send(Message(topic, b"%d" % n, b"v" * 100)) for n in range(20_000)]:
        future.result(60)
    producer.close()
    consumer = bus.consumer("g" + topic, "0", [topic], dict.fromkeys, lambda _: None)
    read, behind = 0, list[tuple[int, int]]()
    while read < 20_000:
        if records := consumer.poll(10):
            read += len(records)
            behind.append((consumer.lag(), read))
    consumer.close()
    assert len(behind) > 3, "more than one batch, and nothing was seen of the catching up"
    assert all(lag <= 20_000 - read for lag, read in behind), behind


def test_what_was_held_before_partitions_change_hands_is_not_held_after_it(bus: KafkaBus, topic: str) -> None:
    first = bus.consumer("g" + topic, "0", [topic], dict.fromkeys, lambda _: None)
    until(lambda: first.poll(0.1) == [] and len(first.ends()) == 4)
    first.hold(list(first.ends()))
    second = bus.consumer("g" + topic, "1", [topic], dict.fromkeys, lambda _: None)
    until(lambda: first.poll(0.1) == [] and second.poll(0.1) == [] and len(first.ends()) == len(second.ends()) == 2)
    producer = bus.producer("test")
    sent = [producer.send(Message(topic, b"%d" % n, b"v")) for n in range(40)]
    assert len({future.result(60) for future in sent}) == 4
    producer.close()
    got: list[Record] = []
    until(lambda: bool(got.extend([*first.poll(0.1), *second.poll(0.1)]) or len(got) == 40))
    first.close()
    second.close()


def test_large_messages_that_wait_together_are_all_taken(bus: KafkaBus, topic: str) -> None:
    producer = bus.producer("test")
    sent = [producer.send(Message(topic, b"k", bytes([n]) * 600_000)) for n in range(12)]
    sent.append(producer.send(Message(topic, b"k", b"x" * (MAX_RECORD_BYTES - 4_096))))
    assert {future.result(30).topic for future in sent} == {topic}
    producer.close()
    assert len(records(bus, topic)) == 13


def test_senders_wait_while_too_much_is_outstanding(bus: KafkaBus, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    producer = KafkaBus("127.0.0.1:1", {"queue.buffering.max.messages": 10}).producer("test")
    monkeypatch.setattr("pawl_shared.buses.kafka_producer.CLOSE_SECONDS", 0.1)
    sent = [producer.send(Message(topic, b"k", b"v")) for _ in range(10)]
    eleventh = threading.Thread(target=lambda: sent.append(producer.send(Message(topic, b"k", b"v"))))
    eleventh.start()
    eleventh.join(0.3)
    assert eleventh.is_alive()
    assert len(sent) == 10
    producer.close()
    eleventh.join(10)
    assert len(sent) == 11
    for future in sent:
        with pytest.raises(BusError):
            future.result(0)


def test_a_transaction_that_cannot_be_sent_is_undone_and_the_next_one_commits(bus: KafkaBus, topic: str) -> None:
    transactions = bus.transactions(topic)
    with pytest.raises(BusError, match="size too large"):
        transactions.commit(
            [Message(topic, b"k", b"1"), Message(topic, b"k", b"x" * (MAX_RECORD_BYTES + 1))],
            {Partition(topic, 0): 3},
            "g" + topic,
        )
    transactions.commit([Message(topic, b"k", b"2")], {Partition(topic, 0): 5}, "g" + topic)
    assert [record.value for record in records(bus, topic)] == [b"2"]
    assert bus.committed("g" + topic, [topic]) == {Partition(topic, 0): 5}
    transactions.close()


def test_who_begins_at_the_end_knows_that_without_waiting_for_a_record(
    bus: KafkaBus, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(*_: object) -> list[Record]:
        raise AssertionError("nothing is there to wait for")

    monkeypatch.setattr(Feed, "poll", waits)
    assert next(bus.read(topic, lambda: False, tail=True)) is None


def test_an_idle_producer_is_woken_by_work_and_by_its_end(
    bus: KafkaBus, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_producer, "IDLE_SECONDS", 3600.0)
    producer = bus.producer("test")
    for number in range(3):
        producer.send(Message(topic, b"k", b"%d" % number)).result(10)
    producer.close()
    assert len(records(bus, topic)) == 3
