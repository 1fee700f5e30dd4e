"""What waits to be sent: in order, once, and known to the store until the broker has it."""

from concurrent.futures import Future

import pytest

from pawl_shared.buses.port import Message, Partition
from pawl_shared.errors import BusError
from pawl_shared.running.outbox import PORTION, Outbox
from pawl_shared.stores.memory import MemoryStore
from pawl_shared.stores.port import Commit


class Broker:
    """Takes messages, and has them when the test says so."""

    def __init__(self, store: MemoryStore) -> None:
        self.taken: list[Message] = []
        self.futures: list[Future[Partition]] = []
        self.outbox = Outbox(store, self.send)

    def send(self, message: Message) -> Future[Partition]:
        self.taken.append(message)
        self.futures.append(Future())
        return self.futures[-1]

    def have(self) -> None:
        for future in self.futures:
            if not future.done():
                future.set_result(Partition("t", 0))


def committed(store: MemoryStore, *numbers: int) -> list[Message]:
    messages = [Message("t", None, str(number).encode()) for number in numbers]
    store.commit(Commit(messages=messages))
    return messages


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_the_broker_may_take_its_time_and_the_store_knows_until_then(store: MemoryStore) -> None:
    broker = Broker(store)
    messages = committed(store, 1, 2)
    broker.outbox.send()
    assert broker.taken == messages
    assert len(store.outgoing(10)) == 2
    broker.have()
    broker.outbox.settle()
    assert not store.outgoing(10)


def test_nothing_is_sent_twice_and_later_messages_come_later(store: MemoryStore) -> None:
    broker = Broker(store)
    first = committed(store, 1)
    broker.outbox.send()
    second = committed(store, 2)
    broker.have()
    broker.outbox.send()
    assert broker.taken == [*first, *second]
    assert [message for _, message in store.outgoing(10)] == second


def test_what_the_broker_did_not_take_stays_and_is_sent_again(store: MemoryStore) -> None:
    broker = Broker(store)
    messages = committed(store, 1, 2)
    broker.outbox.send()
    broker.futures[0].set_result(Partition("t", 0))
    broker.futures[1].set_exception(BusError("away"))
    with pytest.raises(BusError):
        broker.outbox.settle()
    again = Broker(store)
    again.outbox.send()
    assert again.taken == messages


def test_of_more_than_a_portion_only_the_last_is_left_to_wait_for(store: MemoryStore) -> None:
    broker = Broker(store)

    def at_once(message: Message) -> Future[Partition]:
        future = broker.send(message)
        if len(broker.taken) <= PORTION:
            future.set_result(Partition("t", 0))
        return future

    committed(store, *range(PORTION + 1))
    outbox = Outbox(store, at_once)
    outbox.send()
    assert len(broker.taken) == PORTION + 1
    assert len(store.outgoing(PORTION)) == 1
