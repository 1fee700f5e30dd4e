"""What the agent does in which order, between a Faust app that only takes notes and a stream that ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from support.samples import FEEDBACK, INFERENCE, WHEN

from pawl_shared.access.tokens import KeyRing, mark
from pawl_shared.buses.port import Message
from pawl_shared.codec import encode
from pawl_shared.ids import uuid7
from pawl_shared.sealed.text import KeyRing as TextRing
from pawl_shared.sealed.text import MemoryKeys
from pawl_streams.agents import Joins
from pawl_streams.fold import JoinFold
from pawl_streams.ownership import Ownership

RING = KeyRing.of(b"k" * 32)
ANSWER = uuid7(WHEN, Random(1))
ANSWERED = encode(INFERENCE.model_copy(update={"inference_id": ANSWER}))
THUMB = mark(RING, encode(FEEDBACK.model_copy(update={"inference_id": ANSWER, "kind": "thumb", "value": 1.0})))


class NotedApp:
    """What Faust is asked for, in order. `upset` is called with each note, before it is done."""

    def __init__(self, upset: Callable[[str], None] = lambda _: None) -> None:
        self.notes: list[str] = []
        self.consumer_generation_id, self.crashed = 1, list[BaseException]()
        self.data: dict[str, Any] = {}
        self.awaited = set[int]()  # offsets that a stop or a rebalance would wait for
        self.consumer = SimpleNamespace(
            wait_for=lambda found: self.awaited.update(each.offset for each in found),
            give_up=lambda found: self.awaited.difference_update([each.offset for each in found]),
        )
        self._upset = upset

    async def note(self, what: str) -> None:
        self._upset(what)
        await asyncio.sleep(0)
        self.notes.append(what)

    async def crash(self, error: BaseException) -> None:
        self.crashed.append(error)

    def topic(self, *names: str, **_: object) -> Any:
        async def send(**_: object) -> Awaitable[None]:
            return self.note(f"publish {names[0]}")

        return SimpleNamespace(send=send)

    def Table(self, name: str, **_: object) -> Any:
        def send_changelog(partition: int, key: str, state: object, **_: object) -> Awaitable[None]:
            return self.note(f"store {key.partition('/')[0]}")

        return SimpleNamespace(data=self.data, owned=Ownership(500), send_changelog=send_changelog)

    async def acknowledged(self, event: Any) -> None:
        self.notes.append(f"ack {event.message.offset}")


def arrived(message: Message, offset: int, generation: int = 1) -> Any:
    return SimpleNamespace(
        message=SimpleNamespace(
            topic=message.topic, partition=3, offset=offset, timestamp=WHEN.timestamp(), key=message.key,
            value=message.value, headers=message.headers, generation_id=generation,
        )
    )  # fmt: skip


def worked(app: NotedApp, *arrivals: Any) -> list[str]:
    """The notes, when the agent has handled these as one batch."""
    waiting = list(arrivals)

    async def events() -> AsyncIterator[Any]:
        while waiting:
            assert not app.awaited, "while it gathers, nothing is waited for"
            event = waiting.pop(0)
            app.awaited.add(event.message.offset)
            yield event

    stream = SimpleNamespace(events=events, ack=app.acknowledged, channel=SimpleNamespace(empty=lambda: not waiting))
    stream.noack = lambda: stream
    joins = Joins(app, JoinFold("streams", lambda _: None), RING, TextRing(MemoryKeys()))
    asyncio.run(joins.work(stream))
    return app.notes


def test_states_are_at_the_broker_before_what_they_say_is_published_and_that_before_it_is_acknowledged() -> None:
    def looked(_: str) -> None:
        assert app.awaited == {0, 1}, "a stop waits for a batch that is at work"

    app = NotedApp(looked)
    notes = worked(app, arrived(ANSWERED, 0), arrived(THUMB, 1))
    kinds = [note.partition(" ")[0] for note in notes]
    assert kinds == sorted(kinds, key=["store", "publish", "ack"].index)
    assert set(kinds) == {"store", "publish", "ack"}
    assert (kinds.count("ack"), kinds.count("publish")) == (2, 2)


@pytest.mark.parametrize("amid", ["store", "publish"])
def test_a_batch_amid_which_partitions_move_is_given_up(amid: str) -> None:
    def moved(note: str) -> None:
        if note.startswith(amid):
            app.consumer_generation_id = 2

    app = NotedApp(moved)
    kinds = {note.partition(" ")[0] for note in worked(app, arrived(ANSWERED, 0))}
    assert kinds == {"store"} | ({"publish"} if amid == "publish" else set())
    assert not app.crashed, "it goes on with what it has now"
    assert not app.awaited, "nobody waits for it"


def test_what_was_delivered_before_a_rebalance_is_left_to_whoever_reads_it_again() -> None:
    app = NotedApp()
    app.consumer_generation_id = 2
    notes = worked(app, arrived(ANSWERED, 0, generation=1), arrived(THUMB, 7, generation=2))
    assert [note for note in notes if note.startswith("ack")] == ["ack 7"]
    assert not app.awaited


def test_an_error_that_is_not_the_records_stops_the_worker_and_acknowledges_nothing() -> None:
    def refused(note: str) -> None:
        if note.startswith("publish"):
            raise ConnectionError("the broker is gone")

    app = NotedApp(refused)
    with pytest.raises(ConnectionError):
        worked(app, arrived(ANSWERED, 0))
    assert [type(error) for error in app.crashed] == [ConnectionError]
    assert not any(note.startswith("ack") for note in app.notes)
