"""What a store on Kafka has seen: exact through packing, forgetting and restarts, and small."""

import json
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Message, Record
from pawl_shared.clock import ManualClock
from pawl_shared.stores import seen_hours
from pawl_shared.stores.kafka import KafkaStore
from pawl_shared.stores.port import Commit, Seen
from pawl_shared.topics import state_topic

STATE = state_topic("test")
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class World:
    """A store that can be restarted, beside a plain set of what it has been told."""

    def __init__(self, kept: timedelta | None, seed: int = 1) -> None:
        self.clock, self.bus, self.kept = ManualClock(START), MemoryBus(), kept
        self.bus.create_topics([STATE])
        self.rng, self.told = Random(seed), set[Seen]()
        self.restart()

    def restart(self) -> None:
        self.store = KafkaStore(self.bus, "test", STATE, [], self.kept, self.clock)
        self.store.open()

    def commit(self, count: int, age: timedelta = timedelta(0)) -> list[Seen]:
        hour = (self.clock.now() - age).replace(minute=0, second=0, microsecond=0)
        new = [Seen(hour, UUID(int=self.rng.getrandbits(128))) for _ in range(count)]
        self.store.commit(Commit(seen=new))
        self.told.update(new)
        return new

    def live(self) -> dict[bytes, Record]:
        """The records that compaction leaves on the state topic."""
        latest = {record.key: record for record in self.bus.read(STATE.name) if record is not None}
        return {key: record for key, record in latest.items() if key is not None and record.value is not None}


@pytest.mark.parametrize("seed", range(5))
def test_it_recognises_what_it_was_told_and_nothing_else_through_packing_late_events_and_restarts(seed: int) -> None:
    world = World(kept=None, seed=seed)
    for _ in range(120):
        world.commit(world.rng.choice((1, 1, 2, 30)), age=world.rng.choice((timedelta(0), timedelta(0), DAY, 40 * DAY)))
        world.clock.advance(world.rng.choice((1.0, 600.0, 4000.0)))
        if world.rng.random() < 0.1:
            world.restart()
    for _ in range(2):
        told = sorted(world.told)
        others = [Seen(seen.hour + timedelta(hours=1), seen.id) for seen in told]
        assert world.store.seen([*told, *others, Seen(START, UUID(int=7))]) == world.told
        world.restart()


def test_an_hour_that_is_over_becomes_one_record_of_16_bytes_an_id() -> None:
    world = World(kept=None)
    for _ in range(299):
        world.commit(1)
    world.restart()
    world.commit(1)
    assert len(world.live()) == 300
    world.clock.advance(3600)
    world.commit(1)
    packed, _ = sorted(world.live().values(), key=lambda record: -len(record.value or b""))
    assert len(json.loads(packed.value or b"")) == 300 * 16 * 4 / 3


def test_an_hour_with_more_ids_than_a_record_holds_has_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_hours, "PART_IDS", 100)
    world = World(kept=DAY)
    world.commit(250)
    world.clock.advance(3600)
    world.commit(0)
    assert len(world.live()) == 3
    world.commit(20, age=timedelta(hours=1))
    world.clock.advance(3600)
    world.commit(0)
    assert len(world.live()) == 3
    world.restart()
    assert world.store.seen(sorted(world.told)) == world.told


def test_what_is_beyond_its_time_is_forgotten_here_and_on_the_topic() -> None:
    world = World(kept=2 * DAY)
    old = world.commit(5)
    world.clock.advance(3600)
    world.commit(1)
    world.clock.advance(48 * 3600 - 1)
    world.restart()
    world.commit(0)
    assert world.store.seen(old) == set(old)  # their hour was over two days ago, but for a second
    world.clock.advance(1)
    (late,) = world.commit(1, age=5 * DAY)
    assert world.store.seen([*old, late]) == {late}  # a copy that follows at once is recognised
    world.clock.advance(3600)
    world.commit(0)
    world.restart()
    assert world.store.seen([*old, late]) == set()
    assert world.live() == {}


def test_ids_that_were_written_one_a_record_are_still_known() -> None:
    world = World(kept=None)
    seen = Seen(START, UUID(int=5))
    key = json.dumps(["seen", seen.hour.isoformat(), str(seen.id)]).encode()
    world.bus.producer("old").send(Message(STATE.name, key, b"1")).result()
    for _ in range(2):
        world.restart()
        assert world.store.seen([seen]) == {seen}
        world.clock.advance(7200)
        world.commit(0)
    assert len(world.live()) == 1


def test_upkeep_of_many_hours_is_spread_over_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_hours, "STEP_RECORDS", 10)
    world = World(kept=None)
    world.store.commit(Commit(seen=[Seen(START - timedelta(hours=n), UUID(int=n)) for n in range(1, 41)]))
    world.clock.advance(3600)

    def unpacked() -> int:
        return sum(not json.loads(key)[2].isdecimal() for key in world.live())

    left = [unpacked()]
    while left[-1]:
        world.commit(0)
        left.append(unpacked())
    assert left == [40, 35, 30, 25, 20, 15, 10, 5, 0]
