"""The way from the journal to the broker, with a broker that misbehaves."""

from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from support.inference import eventually

from pawl_inference.record.forwarder import Forwarder
from pawl_inference.record.journal import Journal
from pawl_inference.record.publisher import Publisher
from pawl_shared import codec
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Message, Partition
from pawl_shared.errors import BusError
from pawl_shared.events import FeedbackReceived
from pawl_shared.packed import pack
from pawl_shared.topics import DEAD_LETTERS

EVENT = FeedbackReceived(
    id=UUID(int=1),
    time=datetime(2026, 1, 1, tzinfo=UTC),
    source="edge",
    inference_id=UUID(int=2),
    model="default/assistant",
    session="sessión\n",
    kind="comment",
    text='two\nlines and a "quote"',
)


class BadProducer:
    """A connection that may be broken from its first send on, and cannot even be closed in order."""

    def __init__(self, bus: "BadBus") -> None:
        self._bus = bus
        self._failure = bus.failures.pop(0) if bus.failures else None

    def send(self, message: Message) -> Future[Partition]:
        future: Future[Partition] = Future()
        if isinstance(self._failure, BusError):
            future.set_exception(self._failure)
        elif self._failure is not None:
            raise self._failure
        else:
            self._bus.sent.append(message)
            future.set_result(Partition(message.topic, 0))
        return future

    def flush(self, timeout: float = 60.0) -> None:
        raise BusError("not flushed")

    def close(self) -> None:
        raise RuntimeError("not closed either")


class BadBus(MemoryBus):
    def __init__(self, *failures: Exception) -> None:
        super().__init__()
        self.failures = list(failures)
        self.sent: list[Message] = []
        self.connections = 0

    def producer(self, name: str) -> BadProducer:  # type: ignore[override]
        self.connections += 1
        return BadProducer(self)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path, max_bytes=1 << 20)
    yield journal
    journal.close()


@pytest.mark.parametrize("failure", [BusError("away"), RuntimeError("a bug")], ids=["away", "bug"])
def test_no_failure_ends_the_forwarder(journal: Journal, failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pawl_inference.record.forwarder._MAX_DELAY", 0.01)
    bus = BadBus(failure, failure)
    forwarder = Forwarder(journal, Publisher(bus, "test", 1.0))
    forwarder.start()
    for number in range(3):
        journal.append(pack(codec.encode(EVENT.model_copy(update={"id": UUID(int=number)}))))
    eventually(lambda: journal.backlog == 0)
    forwarder.stop()
    ids = [codec.header(message.headers, "ce_id") for message in bus.sent]
    assert ids == [str(UUID(int=number)) for number in range(3)]


def test_it_rests_after_a_batch_that_is_not_full_until_it_is_to_stop(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pawl_inference.record.forwarder.PACE_SECONDS", 3600)
    monkeypatch.setattr("pawl_inference.record.forwarder.BATCH", 2)
    for _ in range(5):
        journal.append(pack(codec.encode(EVENT)))
    bus = BadBus()
    forwarder = Forwarder(journal, Publisher(bus, "test", 1.0))
    forwarder.start()
    eventually(lambda: journal.backlog == 0)  # two full batches and a half one
    journal.append(pack(codec.encode(EVENT)))
    forwarder.stop()
    assert len(bus.sent) == 6


def test_a_broken_connection_is_replaced(journal: Journal) -> None:
    bus = BadBus(BusError("fatal"))
    publisher = Publisher(bus, "test", 1.0)
    with pytest.raises(BusError, match="fatal"):
        publisher.publish([codec.encode(EVENT)])
    publisher.publish([codec.encode(EVENT)])
    assert (bus.connections, len(bus.sent)) == (2, 1)


def test_a_silent_broker_is_an_error_in_the_end(journal: Journal) -> None:
    class Silent(BadProducer):
        def send(self, message: Message) -> Future[Partition]:
            return Future()

    bus = BadBus()
    bus.producer = lambda name: Silent(bus)  # type: ignore[method-assign]
    with pytest.raises(BusError, match="acknowledged nothing"):
        Publisher(bus, "test", 0.01).publish([codec.encode(EVENT)])


def test_numbers_that_were_damaged_on_disk_do_not_stop_the_rest(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_bytes=1 << 20, segment_bytes=1)
    for number in range(3):
        journal.append(pack(codec.encode(EVENT.model_copy(update={"id": UUID(int=number)}))))
    journal.close()
    _, second, _ = sorted(tmp_path.glob("*.journal"))
    second.write_bytes(b"\xff" * second.stat().st_size)
    journal = Journal(tmp_path, max_bytes=1 << 20, segment_bytes=1)
    bus = BadBus()
    forwarder = Forwarder(journal, Publisher(bus, "test", 1.0))
    while journal.backlog:
        forwarder.forward()
    assert [codec.header(message.headers, "ce_id") for message in bus.sent] == [str(UUID(int=0)), str(UUID(int=2))]
    journal.close()


def test_a_record_that_no_broker_takes_becomes_a_dead_letter_and_the_rest_goes_on(journal: Journal) -> None:
    large = EVENT.model_copy(update={"text": "x" * (2 << 20)})
    for event in (large, EVENT):
        journal.append(pack(codec.encode(event)))
    bus = BadBus()
    assert Forwarder(journal, Publisher(bus, "test", 1.0)).forward() == 2
    dead, sent = bus.sent
    assert sent == codec.encode(EVENT)
    assert dead.topic == DEAD_LETTERS.name
    assert b"larger than a record may be" in (dead.value or b"")
    assert journal.backlog == 0
