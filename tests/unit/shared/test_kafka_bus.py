"""The Kafka bus without a broker: what it raises, and what it makes of what its client delivers."""

from datetime import UTC, datetime
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from pawl_shared.buses import kafka_bus, kafka_clients
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.kafka_consumer import Feed
from pawl_shared.buses.port import Message, Partition
from pawl_shared.errors import BusError, FencedError
from pawl_shared.topics import INFERENCES, MAX_RECORD_BYTES

ONE = Partition("topic", 0)


class Delivered:
    """A message of the client."""

    def __init__(
        self, offset: int, headers: Any = None, error: KafkaError | None = None, epoch: int = 0, at: int = 1_500
    ) -> None:
        self._offset, self._headers, self._error, self._epoch, self._at = offset, headers, error, epoch, at

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return ONE.topic

    def partition(self) -> int:
        return ONE.number

    def offset(self) -> int:
        return self._offset

    def leader_epoch(self) -> int | None:
        return self._epoch

    def timestamp(self) -> tuple[int, int]:
        return confluent_kafka.TIMESTAMP_LOG_APPEND_TIME, self._at

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return None

    def headers(self) -> Any:
        if isinstance(self._headers, Exception):
            raise self._headers
        return self._headers


class Client:
    """A client whose queue the test fills."""

    def __init__(self, settings: Any, logger: Any = None) -> None:
        self.queue: list[Any] = []
        self.position_is: int = confluent_kafka.OFFSET_INVALID
        self.assigned: list[list[TopicPartition]] = []

    def assign(self, parts: list[TopicPartition]) -> None:
        self.assigned.append(parts)

    def resume(self, parts: list[TopicPartition]) -> None:
        """Nothing is paused."""

    def consume(self, count: int, timeout: float) -> list[Delivered]:
        found, self.queue = self.queue[:count], self.queue[count:]
        return [each for each in found if not (callable(each) and each())]

    def poll(self, timeout: float) -> Delivered | None:
        return None

    def position(self, parts: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(part.topic, part.partition, self.position_is) for part in parts]


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Feed:
    monkeypatch.setattr(confluent_kafka, "Consumer", Client)
    made = Feed({})
    made.start({ONE: 5})
    return made


def end(offset: int) -> Delivered:
    return Delivered(offset, error=KafkaError(KafkaError._PARTITION_EOF))


def test_a_record_has_the_brokers_time_and_its_headers_in_order(feed: Feed) -> None:
    feed.consumer.queue = [Delivered(5, [("a", b"1"), ("b", None), ("a", b"2")])]
    (record,) = feed.poll(0)
    assert record.appended == datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC)
    assert record.headers == (("a", b"1"), ("b", None), ("a", b"2"))
    assert (record.key, record.value) == (None, None)


def test_a_record_whose_headers_cannot_be_read_is_delivered_without_them(feed: Feed) -> None:
    broken = SystemError("headers returned a result with an exception set")
    feed.consumer.queue = [Delivered(5, [("a", b"1")]), Delivered(6, broken), Delivered(7)]
    assert [(record.offset, record.headers) for record in feed.poll(0)] == [(5, (("a", b"1"),)), (6, ()), (7, ())]


def test_the_position_is_the_start_then_the_clients_and_then_the_end_that_was_signalled(feed: Feed) -> None:
    assert feed.positions() == {ONE: 5}
    feed.consumer.position_is = 8
    assert feed.positions() == {ONE: 8}
    feed.consumer.queue = [end(10)]
    assert feed.poll(0) == []
    assert feed.positions() == {ONE: 10}


def test_who_follows_a_topic_does_not_wait_long_to_hear_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def refused(settings: dict[str, Any], logger: Any = None) -> Any:
        made.append(settings)
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    monkeypatch.setattr(confluent_kafka, "Consumer", refused)
    with pytest.raises(KafkaException):
        next(KafkaBus("localhost:1").read(ONE.topic))
    assert [settings["fetch.wait.max.ms"] for settings in made] == [100]


@pytest.mark.parametrize("first", [Delivered(3), end(12)], ids=["a record", "the end"])
def test_what_was_read_across_a_change_of_partitions_is_read_again(feed: Feed, first: Delivered) -> None:
    def changed() -> bool:
        feed.start({ONE: 3})
        return True

    feed.consumer.queue = [Delivered(9), changed, Delivered(3)]
    feed.consumer.position_is = 10  # of the time before
    assert feed.poll(0) == []
    assert [[part.offset for part in parts] for parts in feed.consumer.assigned] == [[5], [3], [3]]
    assert feed.positions() == {ONE: 3}
    feed.consumer.queue = [first]
    feed.poll(0)
    feed.consumer.position_is = 13
    assert feed.positions() == {ONE: 13}, "the client's own position counts again"


def test_what_the_client_delivers_again_is_dropped_and_what_a_newer_leader_wrote_is_not(feed: Feed) -> None:
    feed.start({ONE: None})
    feed.consumer.queue = [Delivered(offset) for offset in (0, 1, 2, 0, 1, 2, 3)]
    assert [record.offset for record in feed.poll(0)] == [0, 1, 2, 3]
    feed.consumer.queue = [Delivered(2), Delivered(4, epoch=1), Delivered(3, epoch=2), Delivered(4, epoch=2)]
    assert [record.offset for record in feed.poll(0)] == [4, 3, 4]
    feed.consumer.queue = [Delivered(0, at=1_501), Delivered(1, at=1_501), Delivered(0, at=1_501)]
    assert [record.offset for record in feed.poll(0)] == [0, 1], "the topic was deleted and made anew"
    feed.start({ONE: 1})
    feed.consumer.queue = [Delivered(1), Delivered(2)]
    assert [record.offset for record in feed.poll(0)] == [1, 2]


def test_a_repeat_is_one_also_where_the_brokers_clock_was_set_back(feed: Feed) -> None:
    feed.start({ONE: None})
    once = [Delivered(0, at=1_000), Delivered(1, at=1_005), Delivered(2, at=1_003)]
    feed.consumer.queue = [*once, *once, Delivered(3, at=1_004)]
    assert [record.offset for record in feed.poll(0)] == [0, 1, 2, 3]


def test_a_passing_error_among_the_records_stops_nothing(feed: Feed) -> None:
    feed.consumer.queue = [Delivered(-1, error=KafkaError(KafkaError._ALL_BROKERS_DOWN)), Delivered(5)]
    assert [record.offset for record in feed.poll(0)] == [5]


def test_a_refusal_among_the_records_is_a_bus_error(feed: Feed) -> None:
    feed.consumer.queue = [Delivered(-1, error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))]
    with pytest.raises(BusError, match="refused"):
        feed.poll(0)


@pytest.mark.parametrize(
    ("code", "raised"), [(KafkaError.FENCED_INSTANCE_ID, FencedError), (KafkaError._TRANSPORT, BusError)]
)
def test_what_the_client_raises_is_an_error_of_the_bus(code: int, raised: type[BusError]) -> None:
    with pytest.raises(BusError) as told, kafka_clients.broker_asked():
        raise KafkaException(KafkaError(code))
    assert type(told.value) is raised


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> KafkaBus:
    """A bus to a port where nothing listens."""
    for module in (kafka_bus, kafka_clients):
        monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    return KafkaBus("127.0.0.1:1")


def test_without_a_broker_every_question_is_a_bus_error(nobody: KafkaBus) -> None:
    for ask in (
        lambda: list(nobody.read("topic")),
        lambda: nobody.committed("group", ["topic"]),
        lambda: nobody.create_topics([INFERENCES]),
        lambda: nobody.transactions("id"),
        lambda: nobody.consumer("group", "0", ["topic"], dict.fromkeys, lambda _: None),
    ):
        with pytest.raises(BusError, match="no Kafka broker answers"):
            ask()


def test_a_message_that_is_too_large_fails_its_own_future_and_no_other(
    nobody: KafkaBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pawl_shared.buses.kafka_producer.CLOSE_SECONDS", 0.1)
    producer = nobody.producer("test")
    large = producer.send(Message("topic", b"k", b"x" * (MAX_RECORD_BYTES + 1)))
    with pytest.raises(BusError, match="size too large"):
        large.result(0)
    waiting = producer.send(Message("topic", b"k", b"v"))
    assert not waiting.done()
    producer.close()  # nobody will take it
    with pytest.raises(BusError, match="Purged"):
        waiting.result(0)
    with pytest.raises(BusError, match="closed"):
        producer.send(Message("topic", b"k", b"v")).result(0)


def test_lines_about_connections_are_for_debugging_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "pawl.kafka")
    kafka_clients.Lines().log(40, "", "FAIL", "client", "Connection refused")
    kafka_clients.Lines().log(30, "", "SESSTMOUT", "client", "session timed out")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("DEBUG", "client FAIL: Connection refused"),
        ("WARNING", "client SESSTMOUT: session timed out"),
    ]


def test_a_coordinator_that_moves_is_asked_again_and_other_errors_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_clients.time, "sleep", lambda _: None)
    moving = [
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    ]

    def ask() -> str:
        if len(moving) > 1:
            raise KafkaException(KafkaError(moving.pop(0)))
        return "answer"

    assert kafka_clients.coordinated(ask) == "answer"

    def refused() -> str:
        raise KafkaException(KafkaError(moving[0]))

    with pytest.raises(KafkaException):
        kafka_clients.coordinated(refused)
