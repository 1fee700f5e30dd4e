"""Feedback on its way to a broker that answers late, not at all, or again: bounded in number, bytes and time."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future

import pytest
from support.inference import eventually

from pawl_inference.record import feedback_sender
from pawl_inference.record.feedback_sender import FeedbackSender
from pawl_inference.record.publisher import Publisher
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Message, Partition
from pawl_shared.errors import BusError

TIMEOUT = 0.3


class Broker(MemoryBus):
    """Acknowledges when it is told to; connecting may wait for a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Future[Partition]] = []
        self.sent: list[bytes] = []
        self.holds = False
        self.gate = threading.Event()
        self.gate.set()
        self.producers = 0

    def producer(self, name: str) -> "Broker":  # type: ignore[override]
        self.gate.wait(10)
        self.producers += 1
        return self

    def ready(self, topic: str) -> bool:
        return True

    def send(self, message: Message) -> Future[Partition]:
        future: Future[Partition] = Future()
        self.sent.append(message.value or b"")
        if self.holds:
            self.held.append(future)
        else:
            future.set_result(Partition(message.topic, 0))
        return future

    def acknowledge(self) -> None:
        self.holds = False
        held, self.held = self.held, []
        for future in held:
            future.set_result(Partition("t", 0))

    def fail(self) -> None:
        held, self.held = self.held, []
        for future in held:
            future.set_exception(BusError("gone"))


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def sender(broker: Broker) -> Iterator[FeedbackSender]:
    sender = FeedbackSender(Publisher(broker, "test", 5.0), TIMEOUT)
    yield sender
    broker.gate.set()
    sender.close()


@pytest.fixture
def patient(broker: Broker) -> Iterator[FeedbackSender]:
    """For posts that are not to run out of time."""
    sender = FeedbackSender(Publisher(broker, "test", 5.0), 30.0)
    yield sender
    sender.close()


def message(size: int = 1) -> Message:
    return Message("t", b"k", b"x" * size)


def post(sender: FeedbackSender, *messages: Message, slow: bool = False) -> Awaitable[None]:
    size = sum(len(each.value or b"") for each in messages)
    return sender.publish(lambda: messages, len(messages), size, slow=slow)


def run(*posts: Callable[[], Awaitable[None]]) -> list[str]:
    """What became of posts that are made at once: `` or the error."""

    async def all_() -> list[str]:
        found = await asyncio.gather(*(each() for each in posts), return_exceptions=True)
        return ["" if each is None else str(each) for each in found]

    return asyncio.run(all_())


def test_a_post_is_done_when_its_last_message_is_acknowledged(broker: Broker, patient: FeedbackSender) -> None:
    async def scenario() -> None:
        broker.holds = True
        posted = asyncio.ensure_future(post(patient, message(), message()))
        await asyncio.to_thread(eventually, lambda: len(broker.held) == 2)
        broker.held.pop().set_result(Partition("t", 0))
        await asyncio.sleep(0)
        assert not posted.done()
        broker.acknowledge()
        await posted

    asyncio.run(scenario())
    assert patient.waiting == 0


def test_a_broker_that_is_away_costs_the_first_their_time_and_the_next_nothing(
    broker: Broker, sender: FeedbackSender
) -> None:
    broker.holds = True
    assert all("acknowledged nothing" in text for text in run(*[lambda: post(sender, message())] * 3))
    assert len(broker.sent) == 3
    refused = run(*[lambda: post(sender, message())] * 5)
    assert all("acknowledged nothing" in text for text in refused)
    assert len(broker.sent) == 3  # not even sent: nothing piles up
    broker.acknowledge()
    assert run(lambda: post(sender, message())) == [""]


def test_one_post_in_a_while_tries(broker: Broker, sender: FeedbackSender, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.holds = True
    run(lambda: post(sender, message()))
    monkeypatch.setattr(feedback_sender, "PROBE_SECONDS", 100.0)
    sender._probe_at = 0.0
    run(*[lambda: post(sender, message())] * 3)
    assert len(broker.sent) == 2


@pytest.mark.parametrize(("limit", "value"), [("MAX_MESSAGES", 4), ("MAX_BYTES", 40)])
def test_what_waits_is_bounded(
    broker: Broker, sender: FeedbackSender, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(feedback_sender, limit, value)
    broker.holds = True
    found = run(*[lambda: post(sender, message(10), message(10))] * 4)
    assert ["acknowledged nothing" in text for text in found] == [True, True, False, False]
    assert "4 statements wait" in found[2]
    broker.acknowledge()
    assert sender.waiting == 0
    assert run(lambda: post(sender, *[message(10)] * 9)) == [""]  # alone it may be larger than the limit


def test_what_was_given_up_before_it_was_made_is_never_sent(broker: Broker) -> None:
    broker.gate.clear()
    sender = FeedbackSender(Publisher(broker, "test", 5.0), 3.0)  # in this time each thread has taken a post
    found = run(*[lambda: post(sender, message())] * (feedback_sender.THREADS + 3))
    assert all("acknowledged nothing" in text for text in found)
    broker.gate.set()
    eventually(lambda: sender.waiting == 0)
    assert len(broker.sent) == feedback_sender.THREADS
    sender.close()


def test_messages_that_cannot_be_made_fail_their_post_alone(sender: FeedbackSender) -> None:
    def broken() -> list[Message]:
        raise ValueError("no key")

    found = run(lambda: sender.publish(broken, 2, 2, slow=True), lambda: post(sender, message()))
    assert found == ["no key", ""]
    assert sender.waiting == 0


def test_after_a_failure_the_next_post_makes_a_new_connection(broker: Broker, patient: FeedbackSender) -> None:
    async def scenario() -> None:
        broker.holds = True
        posts = [asyncio.ensure_future(post(patient, message())) for _ in range(3)]
        await asyncio.to_thread(eventually, lambda: len(broker.held) == 3)
        broker.fail()
        assert [str(each) for each in await asyncio.gather(*posts, return_exceptions=True)] == ["gone"] * 3
        broker.holds = False
        await post(patient, message())

    asyncio.run(scenario())
    assert broker.producers == 2
    assert patient.waiting == 0
