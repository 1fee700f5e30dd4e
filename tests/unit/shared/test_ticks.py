"""Copies of Ticks are known by the latest one of their model: nothing grows with time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from pydantic import BaseModel

from pawl_shared.codec import encode
from pawl_shared.events import Event, Tick
from pawl_shared.fold import Delivery, Step
from pawl_shared.memory_bus import MemoryBus
from pawl_shared.runner import Pace, Runner
from pawl_shared.stores.memory import MemoryStore
from pawl_shared.stores.port import Commit, StateKey
from pawl_shared.ticks import LatestTick, is_copy
from pawl_shared.topics import EVIDENCE, TOPICS

START = datetime(2026, 1, 1, tzinfo=UTC)


def tick(number: int, model: str = "m", seconds: float | None = None) -> Tick:
    time = START + timedelta(seconds=2 * number if seconds is None else seconds)
    return Tick(id=UUID(int=number), time=time, source="test", model=model, number=number)


@pytest.mark.parametrize(
    ("again", "copy"),
    [
        (tick(100), True),  # the same
        (tick(100, seconds=201.5), True),  # of the same interval, by another monitor
        (tick(99), True),
        (tick(101), False),
        (tick(51, seconds=204), False),  # intervals are twice as long now
        (tick(7, seconds=200 - 86_390), True),  # an old topic, written again
        (tick(7, seconds=200 - 86_410), False),  # or the latest had a time far ahead
    ],
)
def test_copies(again: Tick, copy: bool) -> None:
    assert is_copy(again, LatestTick.of(tick(100))) is copy
    assert not is_copy(again, None)


class Heard(BaseModel):
    numbers: list[int] = []


class Hearing:
    name = "hearing"
    topics = (EVIDENCE.name,)
    state = Heard

    def keys(self, event: Event) -> Sequence[str]:
        return [event.key]

    def step(self, key: str, state: Heard | None, delivery: Delivery) -> Step[Heard]:
        assert isinstance(delivery.event, Tick)
        return Step(Heard(numbers=[*(state.numbers if state else []), delivery.event.number]))


class Watched(MemoryStore):
    seen_ids = 0

    def commit(self, commit: Commit) -> None:
        self.seen_ids += len(commit.seen)
        super().commit(commit)


def test_a_copy_is_dropped_in_the_same_batch_in_a_later_one_and_after_a_restart() -> None:
    bus, store = MemoryBus(), Watched()
    bus.create_topics(TOPICS)
    producer = bus.producer("test")

    def handle(*ticks: Tick) -> None:
        for each in ticks:
            producer.send(encode(each)).result()
        runner = Runner("test", "test/0", "0", bus, store, [Hearing()], pace=Pace(poll=0, sleep=lambda _: None))
        runner.start()
        while runner.turn() or not runner.at_end():
            pass
        runner.close()

    def heard(model: str) -> list[int]:
        place = StateKey("hearing", model)
        return Heard.model_validate_json(store.load([place])[place].value).numbers

    handle(tick(1), tick(1), tick(2), tick(1, "other"))
    handle(tick(2), tick(1), tick(3))
    assert (heard("m"), heard("other")) == ([1, 2, 3], [1])
    assert store.seen_ids == 0
