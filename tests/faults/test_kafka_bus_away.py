"""The broker is killed under every kind of client of the bus, stays away, and comes back."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pawl_cli.running.embedded_kafka import EmbeddedKafka
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Message, Partition, Record
from pawl_shared.errors import BusError
from pawl_shared.topics import Topic

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]

TOPIC, PLACE, GROUP = "test.away", Partition("test.away", 0), "test"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(tmp_path) as started:
        yield started


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("kafka_bus.ANSWER_SECONDS", "kafka_clients.ANSWER_SECONDS", "kafka_producer.COMMIT_SECONDS"):
        monkeypatch.setattr(f"pawl_shared.buses.{limit}", 1.0)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "did not happen"


def message(value: str) -> Message:
    return Message(TOPIC, b"k", value.encode())


def test_who_asks_is_told_who_waits_goes_on_and_nobody_hangs(
    broker: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = KafkaBus(broker.bootstrap_servers, {"transaction.timeout.ms": 15_000})
    bus.create_topics([Topic(TOPIC, "", ())])
    producer, transactions = bus.producer("test"), bus.transactions("test")
    producer.send(message("0")).result(60)
    transactions.commit([message("1")], {PLACE: 1}, GROUP)
    consumer = bus.consumer(GROUP, "0", [TOPIC], dict.fromkeys, lambda _: None)
    got: list[Record] = []
    until(lambda: bool(got.extend(consumer.poll(0.1)) or len(got) == 2))
    follower = bus.read(TOPIC, lambda: False)
    until(lambda: next(follower) is None)

    broker.kill()
    hurry(monkeypatch)
    waiting = producer.send(message("2"))
    with pytest.raises(BusError):
        until(lambda: next(follower) is not None)
    for ask in (consumer.ends, lambda: list(bus.read(TOPIC)), lambda: bus.committed(GROUP, [TOPIC])):
        with pytest.raises(BusError):
            ask()
    with pytest.raises(BusError, match="did not commit"):
        transactions.commit([message("lost")], {PLACE: 2}, GROUP)
    assert consumer.poll(0.1) == []
    assert not waiting.done()

    broker.start()
    monkeypatch.undo()
    waiting.result(60)
    with pytest.raises(BusError, match="start anew"):
        transactions.commit([message("lost")], {PLACE: 2}, GROUP)
    newer = bus.transactions("test")
    newer.commit([message("3")], {PLACE: 2}, GROUP)
    until(lambda: bool(got.extend(consumer.poll(0.1)) or (got and got[-1].value == b"3")))
    assert [record.value for record in bus.read(TOPIC) if record] == [b"0", b"1", b"2", b"3"]
    assert bus.committed(GROUP, [TOPIC]) == {PLACE: 2}

    broker.kill()
    hurry(monkeypatch)
    for close in (consumer.close, transactions.close, newer.close, producer.close):
        close()
