"""One suite for every bus: what services rely on holds in memory and on Kafka alike."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from pawl_shared.buses import kafka_clients
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Bus, Message, Partition, Record
from pawl_shared.errors import BusError, FencedError
from pawl_shared.topics import Topic


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    made: Bus = MemoryBus() if request.param == "memory" else KafkaBus(request.getfixturevalue("kafka"))
    yield made
    made.close()


@pytest.fixture
def topic(bus: Bus) -> str:
    name = f"test.{uuid.uuid4().hex}"
    bus.create_topics([Topic(name, "", (), partitions=4)])
    return name


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "did not happen"
        time.sleep(0.01)


def send(bus: Bus, *messages: Message) -> list[Partition]:
    producer = bus.producer("test")
    placed = [future.result(60) for future in [producer.send(message) for message in messages]]
    producer.close()
    return placed


def consume(bus: Bus, topic: str, count: int, group: str, starts: dict[Partition, int] | None = None) -> list[Record]:
    consumer = bus.consumer(
        group, "0", [topic], lambda parts: {p: (starts or {}).get(p) for p in parts}, lambda _: None
    )
    got: list[Record] = []
    until(lambda: bool(got.extend(consumer.poll(0.2)) or len(got) >= count))
    consumer.close()
    return got


def test_a_producer_that_has_sent_to_a_topic_is_ready_for_it(bus: Bus, topic: str) -> None:
    producer = bus.producer("test")
    producer.send(Message(topic, b"k", b"v")).result(10)
    assert producer.ready(topic)
    producer.close()


def test_a_record_arrives_as_it_was_sent(bus: Bus, topic: str) -> None:
    headers = (("ce_id", b"1"), ("traceparent", b"\xff\x00"))
    send(bus, Message(topic, b"k", b"v", headers))
    (record,) = consume(bus, topic, 1, "g" + topic)
    assert (record.key, record.value, record.headers) == (b"k", b"v", headers)
    assert record.appended.tzinfo is not None


def test_one_key_keeps_its_order_and_its_partition(bus: Bus, topic: str) -> None:
    placed = send(bus, *(Message(topic, b"one", str(n).encode()) for n in range(200)))
    assert len(set(placed)) == 1
    got = consume(bus, topic, 200, "g" + topic)
    assert [int(record.value or b"") for record in got] == list(range(200))


def test_a_consumer_starts_where_it_is_told(bus: Bus, topic: str) -> None:
    (part, *_) = send(bus, *(Message(topic, b"one", str(n).encode()) for n in range(10)))
    got = consume(bus, topic, 3, "g" + topic, {part: 7})
    assert [record.offset for record in got] == [7, 8, 9]


def test_ends_lie_beyond_what_was_sent_and_are_reached_when_it_was_delivered(bus: Bus, topic: str) -> None:
    consumer = bus.consumer("g" + topic, "0", [topic], dict.fromkeys, lambda _: None)
    until(lambda: consumer.poll(0.1) == [] and len(consumer.ends()) == 4)
    transactions = bus.transactions("t" + topic)
    transactions.commit([Message(topic, b"k", b"1")], {}, "g" + topic)
    (part, *_) = send(bus, Message(topic, b"k", b"2"))
    ends = consumer.ends()
    assert ends[part] >= 2
    assert part not in consumer.reached(ends)
    got: list[Record] = []
    until(lambda: bool(got.extend(consumer.poll(0.1)) or set(consumer.reached(ends)) == set(ends)))
    assert [record.value for record in got] == [b"1", b"2"]
    transactions.close()
    consumer.close()


def test_partitions_on_hold_deliver_later_and_nothing_is_lost(bus: Bus, topic: str) -> None:
    consumer = bus.consumer("g" + topic, "0", [topic], dict.fromkeys, lambda _: None)
    until(lambda: consumer.poll(0.1) == [] and len(consumer.ends()) == 4)
    (held,) = set(send(bus, *(Message(topic, b"one", str(n).encode()) for n in range(5))))
    consumer.hold([held])
    other = next(key for key in (b"%d" % n for n in range(100)) if send(bus, Message(topic, key, b"other")) != [held])
    got: list[Record] = []
    until(lambda: bool(got.extend(consumer.poll(0.2)) or any(r.key == other for r in got)))
    assert not [record for record in got if Partition(record.topic, record.partition) == held]
    consumer.hold([])
    until(lambda: bool(got.extend(consumer.poll(0.2)) or len([r for r in got if r.key == b"one"]) == 5))
    assert [record.value for record in got if record.key == b"one"] == [b"0", b"1", b"2", b"3", b"4"]
    consumer.close()


def test_a_member_is_fenced_by_another_one_of_its_name(bus: Bus, topic: str) -> None:
    older = bus.consumer("g" + topic, "0", [topic], dict.fromkeys, lambda _: None)
    until(lambda: older.poll(0.1) == [] and len(older.ends()) == 4)
    newer = bus.consumer("g" + topic, "0", [topic], dict.fromkeys, lambda _: None)
    until(lambda: newer.poll(0.1) == [] and len(newer.ends()) == 4)
    with pytest.raises(FencedError):
        until(lambda: older.poll(0.1) != [])
    older.close()
    send(bus, Message(topic, b"k", b"v"))
    got: list[Record] = []
    until(lambda: bool(got.extend(newer.poll(0.1)) or got))
    newer.close()


def test_keys_and_values_may_be_missing_or_empty(bus: Bus, topic: str) -> None:
    sent = [(None, b"v"), (b"k", None), (b"", b""), (b"k", b"")]
    send(bus, *(Message(topic, key, value) for key, value in sent))
    got = [(record.key, record.value) for record in bus.read(topic) if record]
    assert sorted(got, key=str) == sorted(sent, key=str)


def test_a_transaction_is_seen_whole_with_its_offsets(bus: Bus, topic: str) -> None:
    group = "g" + topic
    transactions = bus.transactions("t" + topic)
    transactions.commit([Message(topic, b"k", str(n).encode()) for n in range(3)], {Partition(topic, 1): 5}, group)
    assert len([r for r in bus.read(topic) if r]) == 3
    assert bus.committed(group, [topic]) == {Partition(topic, 1): 5}
    transactions.close()


def test_a_newer_instance_fences_the_older(bus: Bus, topic: str) -> None:
    older = bus.transactions("t" + topic)
    older.commit([Message(topic, b"k", b"1")], {}, "g" + topic)
    newer = bus.transactions("t" + topic)
    with pytest.raises(FencedError, match="taken over"):
        older.commit([Message(topic, b"k", b"zombie")], {}, "g" + topic)
    newer.commit([Message(topic, b"k", b"2")], {}, "g" + topic)
    assert [r.value for r in bus.read(topic) if r] == [b"1", b"2"]
    older.close()
    newer.close()


def test_read_follows_a_topic_past_its_end(bus: Bus, topic: str) -> None:
    send(bus, Message(topic, b"k", b"before"))
    stop, got = threading.Event(), []
    at_end = threading.Event()

    def follow() -> None:
        for record in bus.read(topic, stop.is_set):
            if record is None:
                at_end.set()
            else:
                got.append(record.value)

    thread = threading.Thread(target=follow)
    thread.start()
    assert at_end.wait(20)
    assert got == [b"before"]
    send(bus, Message(topic, b"k", b"after"))
    until(lambda: got == [b"before", b"after"])
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def test_who_stands_at_the_end_has_all_that_was_acknowledged_when_it_was_asked_for(bus: Bus, topic: str) -> None:
    """The end is asked for between one None and the next: who is waiting for a key that is not there counts on it."""
    reader, producer = bus.read(topic, lambda: False, timeout=0.0), bus.producer("test")
    assert next(reader) is None
    for number in range(50):
        producer.send(Message(topic, b"k", b"%d" % number)).result(10)
        record = next(reader)
        assert record is not None and record.value == b"%d" % number  # noqa: PT018
        assert next(reader) is None
    producer.close()


def test_records_name_their_topic_by_the_string_that_the_reader_gave(bus: Bus, topic: str) -> None:
    """A string each would be made 100,000 times a second; one that is interned each time lets memory grow."""
    send(bus, *(Message(topic, b"k", b"%d" % n) for n in range(3)))
    assert all(record.topic is topic for record in bus.read(topic) if record is not None)


def test_read_begins_at_the_end_where_it_is_told_to(bus: Bus, topic: str) -> None:
    send(bus, *(Message(topic, b"k%d" % n, b"before") for n in range(20)))
    stop = threading.Event()
    following = bus.read(topic, stop.is_set, tail=True)
    assert next(following) is None
    send(bus, Message(topic, b"k", b"after"))
    assert next(record for record in following if record is not None).value == b"after"
    stop.set()
    assert [record for record in following if record is not None] == []


def test_read_tells_how_far_it_is_behind(bus: Bus, topic: str) -> None:
    stop, told = threading.Event(), list[int]()
    following = bus.read(topic, stop.is_set, behind=told.append)
    assert next(following) is None
    assert told[-1] == 0
    send(bus, *(Message(topic, b"k%d" % n, b"") for n in range(3)))
    got = 0
    while got < 3:
        got += next(following) is not None
    while next(following) is not None:
        pass
    assert 3 in told
    assert told[-1] == 0
    stop.set()
    assert [record for record in following if record] == []


def test_read_of_an_empty_topic_ends(bus: Bus, topic: str) -> None:
    assert [record for record in bus.read(topic) if record] == []


def test_creating_topics_again_changes_nothing(bus: Bus, topic: str) -> None:
    assert bus.create_topics([Topic(topic, "", (), partitions=4)]) == []


def test_an_unknown_topic_is_an_error_that_says_what_to_do(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_clients, "KNOWN_SECONDS", 0.3)
    with pytest.raises(BusError, match="pawl topics apply"):
        list(bus.read(f"test.{uuid.uuid4().hex}"))
