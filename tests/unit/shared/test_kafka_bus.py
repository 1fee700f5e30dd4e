"""What the client raises in the middle of a read."""

from typing import Any

import pytest
from kafka.errors import KafkaConnectionError

from pawl_shared.errors import BusError
from pawl_shared.kafka_bus import KafkaBus


class BrokerGone:
    """A consumer whose broker goes away after it has connected."""

    def __init__(self) -> None:
        self.closed = False

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0}

    def assign(self, parts: Any) -> None:
        """Needs no broker."""

    def seek_to_beginning(self, *parts: Any) -> None:
        """Needs no broker."""

    def end_offsets(self, parts: Any) -> dict[Any, int]:
        raise KafkaConnectionError("111 ECONNREFUSED")

    def committed(self, part: Any) -> int:
        raise KafkaConnectionError("111 ECONNREFUSED")

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> BrokerGone:
    gone = BrokerGone()
    monkeypatch.setattr(KafkaBus, "_consumer", lambda *_, **__: gone)
    return gone


def test_a_broker_that_goes_away_while_a_topic_is_read_is_a_bus_error(consumer: BrokerGone) -> None:
    with pytest.raises(BusError, match="no longer answers"):
        list(KafkaBus("127.0.0.1:1").read("topic"))
    assert consumer.closed


def test_a_broker_that_goes_away_while_offsets_are_asked_is_a_bus_error(consumer: BrokerGone) -> None:
    with pytest.raises(BusError, match="no longer answers"):
        KafkaBus("127.0.0.1:1").committed("group", ["topic"])
    assert consumer.closed
