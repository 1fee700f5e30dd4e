"""Copies of Ticks are known by the latest one of their model: nothing grows with time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from pydantic import BaseModel

from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.clock import SystemClock
from pawl_shared.codec import encode
from pawl_shared.events import Event, Tick
from pawl_shared.running.fold import Delivery, Step
from pawl_shared.running.runner import Pace, Runner
from pawl_shared.running.ticks import LatestTick, is_copy
from pawl_shared.stores.memory import MemoryStore
from pawl_shared.stores.port import Commit, StateKey
from pawl_shared.topics import EVIDENCE, TOPICS

START = datetime(2026, 1, 1, tzinfo=UTC)


def tick(number: int, model: str = "m", seconds: float | None = None) -> Tick:
    time = START + timedelta(seconds=2 * number if seconds is None else seconds)
    return Tick(id=UUID(int=number), time=time, source="test", model=model, number=number)


@pytest.mark.parametrize(
    ("again", "late", "copy"),
    [
        (tick(100), 0, True),  # the same
        (tick(100, seconds=201.5), 0, True),  # of the same interval, by another monitor
        (tick(99), 0, True),
        (tick(101), 0, False),
        (tick(51, seconds=204), 0, False),  # intervals are twice as long now
        (tick(7, seconds=200 - 86_390), 61, True),  # an old topic, written again
        (tick(7, seconds=200 - 86_410), 61, False),  # or the latest had a time far ahead
        (tick(71, seconds=200 - 58), 0, True),  # another monitor, whose clock is behind
        (tick(7, seconds=200 - 43_200), 0, False),  # fresh: monitor and broker were ahead, and are put right
    ],
)
def test_copies(again: Tick, late: float, copy: bool) -> None:
    appended = again.time + timedelta(seconds=late)
    assert is_copy(again, appended, LatestTick.of(tick(100), tick(100).time)) is copy
    assert not is_copy(again, appended, None)


def test_a_monitors_clock_that_was_ahead_once_counts_for_a_minute_even_if_it_is_behind_later() -> None:
    now = START + timedelta(hours=12)
    ahead = LatestTick.of(tick(100_000, seconds=86_400), now)
    assert is_copy(tick(100_000, seconds=86_400), now, ahead)
    later = now + timedelta(minutes=10)
    behind = tick(21_600 + 150, seconds=(later - START).total_seconds() - 300)
    assert not is_copy(behind, later, ahead)


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


class Set(SystemClock):
    time = START

    def now(self) -> datetime:
        return self.time


def test_time_goes_on_as_soon_as_a_clock_that_was_ahead_is_put_right() -> None:
    bus, store = MemoryBus(clock := Set()), MemoryStore()
    bus.create_topics(TOPICS)
    producer = bus.producer("test")
    for number in (21_600, 21_601, 1, 2, 2):  # twelve hours ahead, then right; the last is a copy
        clock.time = START + timedelta(seconds=2 * number)
        producer.send(encode(tick(number))).result()
    runner = Runner("test", "test/0", "0", bus, store, [Hearing()], pace=Pace(poll=0, sleep=lambda _: None))
    runner.start()
    while runner.turn() or not runner.at_end():
        pass
    runner.close()
    place = StateKey("hearing", "m")
    assert Heard.model_validate_json(store.load([place])[place].value).numbers == [21_600, 21_601, 1, 2]
