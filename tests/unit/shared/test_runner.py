"""The runner on memory adapters: exactly once, whatever is repeated, broken or interrupted."""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from pydantic import BaseModel

from pawl_shared import logging
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Message, Partition, Record
from pawl_shared.clock import ManualClock
from pawl_shared.codec import decode, encode
from pawl_shared.errors import FencedError
from pawl_shared.events import DeadLetter, DriftDetected, Event, Interval, PauseCommand, RetrainCommand, Tick
from pawl_shared.ids import derived_id
from pawl_shared.running.effects import EffectContext, EffectRunner
from pawl_shared.running.fold import Delivery, Step
from pawl_shared.running.runner import Pace, Runner
from pawl_shared.stores.memory import MemoryStore
from pawl_shared.stores.port import Commit, Effect, StateKey, StoredState
from pawl_shared.topics import COMMANDS, DEAD_LETTERS, EVIDENCE, TOPICS, TRAINING

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Count(BaseModel):
    n: int = 0


class Counting:
    """Counts commands; echoes each as a pause; a RetrainCommand owes an effect; `why` may ask for trouble."""

    name = "counting"
    topics = (COMMANDS.name, EVIDENCE.name)
    state = Count

    def keys(self, event: Event) -> Sequence[str]:
        return [event.model] if isinstance(event, PauseCommand | RetrainCommand) else []

    def step(self, key: str, state: Count | None, delivery: Delivery) -> Step[Count]:
        event = delivery.event
        assert isinstance(event, PauseCommand | RetrainCommand)
        if event.why == "trouble":
            raise ValueError("cannot")
        n = (state.n if state else 0) + 1
        effects = (Effect(event.id, "work", event.why),) if isinstance(event, RetrainCommand) else ()
        return Step(Count(n=n), effects=effects, due=delivery.at + timedelta(seconds=10))

    def timer(self, key: str, state: Count, tick: Delivery) -> Step[Count]:
        event = PauseCommand(
            id=derived_id(tick.event.id, key), time=tick.event.time, source="t", model=f"echo-{key}", who="timer"
        )
        return Step(None, events=(event,))


def command(model: str = "m", why: str = "", kind: type[PauseCommand] | type[RetrainCommand] = PauseCommand) -> Event:
    return kind(id=uuid.uuid4(), time=NOW, source="test", model=model, who="me", why=why)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def bus(clock: ManualClock) -> MemoryBus:
    bus = MemoryBus(clock)
    bus.create_topics(TOPICS)
    return bus


def publish(bus: MemoryBus, *messages: Event | Message) -> None:
    producer = bus.producer("test")
    for message in messages:
        producer.send(encode(message) if isinstance(message, Event) else message).result()


def run_until(runner: Runner, condition: Callable[[], bool]) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=runner.run, args=[stop])
    thread.start()
    give_up = time.monotonic() + 10
    while not condition() and thread.is_alive():
        assert time.monotonic() < give_up, "did not happen"
        time.sleep(0.005)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def runner(bus: MemoryBus, store: MemoryStore, handlers: dict | None = None) -> Runner:  # type: ignore[type-arg]
    return Runner("test", "test/0", "0", bus, store, [Counting()], handlers, pace=Pace(effect_pause=0.001))


def count(store: MemoryStore, key: str = "m") -> int:
    found = store.load([StateKey("counting", key)])
    return Count.model_validate_json(found[StateKey("counting", key)].value).n if found else 0


def dead(bus: MemoryBus) -> list[DeadLetter]:
    events = [decode(record) for record in bus.read(DEAD_LETTERS.name) if record]
    return [event for event in events if isinstance(event, DeadLetter)]


def test_a_repeated_event_counts_once(bus: MemoryBus) -> None:
    store, event = MemoryStore(), command()
    publish(bus, event, event, command())
    run_until(runner(bus, store), lambda: count(store) == 2)
    publish(bus, event, command())
    run_until(runner(bus, store), lambda: count(store) == 3)


def test_a_crash_before_the_commit_changes_nothing_and_after_it_nothing_is_repeated(bus: MemoryBus) -> None:
    class Crashing(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.crash: str | None = "before"

        def commit(self, commit: Commit) -> None:
            if self.crash == "before":
                raise KeyboardInterrupt
            super().commit(commit)
            if self.crash == "after":
                raise KeyboardInterrupt

    store = Crashing()
    publish(bus, command(), command())
    for store.crash, expected in (("before", 0), ("after", 2), (None, 2)):
        attempt = runner(bus, store)
        if store.crash:
            with pytest.raises(KeyboardInterrupt):
                attempt.run(threading.Event())
        else:
            publish(bus, command("other"))
            run_until(attempt, lambda: count(store, "other") == 1)
        assert count(store) == expected


@pytest.mark.parametrize(
    ("headers", "value", "reason"),
    [
        ((), b"{}", "no ce_type"),
        ((("ce_type", b"\xff"),), b"{}", "not UTF-8"),
        ((("ce_type", b"pawl.command.pause.v9"), ("ce_specversion", b"1.0")), b"{}", "unknown event type"),
        ((("ce_type", b"pawl.tick.v1"), ("ce_specversion", b"1.0")), b"{}", "does not belong"),
        ((("ce_type", b"pawl.command.pause.v1"), ("ce_specversion", b"0.3")), b"{}", "ce_specversion"),
        ((("ce_type", b"pawl.command.pause.v1"), ("ce_specversion", b"1.0")), b"\x00\xff", "not JSON"),
        ((("ce_type", b"pawl.command.pause.v1"), ("ce_specversion", b"1.0")), b"[" * 100_000, "not JSON"),
        ((("ce_type", b"pawl.command.pause.v1"), ("ce_specversion", b"1.0")), b"[]", "not a JSON object"),
        ((("ce_type", b"pawl.command.pause.v1"), ("ce_specversion", b"1.0")), b"{}", "id: Field required"),
        ((("ce_type", b"pawl.command.pause.v1"), ("ce_specversion", b"1.0")), None, "empty"),
    ],
)
def test_what_cannot_be_read_is_buried_with_its_reason_and_stops_nothing(
    bus: MemoryBus, headers: tuple[tuple[str, bytes], ...], value: bytes | None, reason: str
) -> None:
    store = MemoryStore()
    publish(bus, Message(COMMANDS.name, b"m", value, headers), command())
    run_until(runner(bus, store), lambda: count(store) == 1)
    (letter,) = dead(bus)
    assert reason in letter.reason
    assert (letter.topic, letter.offset, letter.service) == (COMMANDS.name, 0, "test")


def test_a_fold_that_fails_on_one_event_does_not_stop_the_others(bus: MemoryBus) -> None:
    store = MemoryStore()
    publish(bus, command(why="trouble"), command())
    run_until(runner(bus, store), lambda: count(store) == 1)
    assert [letter.reason for letter in dead(bus)] == ["ValueError: cannot"]


def test_timers_fire_by_the_time_of_ticks_alone(bus: MemoryBus, clock: ManualClock) -> None:
    store = MemoryStore()
    publish(bus, command())
    run_until(runner(bus, store), lambda: count(store) == 1)
    clock.advance(9)
    publish(bus, Tick(id=uuid.uuid4(), time=NOW, source="t", model="m", number=1), command("seen"))
    run_until(runner(bus, store), lambda: count(store, "seen") == 1)
    assert count(store) == 1
    clock.advance(1)
    publish(bus, Tick(id=uuid.uuid4(), time=NOW, source="t", model="m", number=2))
    run_until(runner(bus, store), lambda: count(store) == 0)
    echoes = [decode(record) for record in bus.read(COMMANDS.name) if record]
    assert [e.who for e in echoes if isinstance(e, PauseCommand)].count("timer") == 1


def alarm(cause: uuid.UUID) -> Event:
    rate = Interval(point=0.5, low=0.4, high=0.6, n=10)
    return DriftDetected(
        id=derived_id(cause, "alarm"), time=NOW, source="t", model="m", detector="d", direction="drop",
        version="0" * 64, since=NOW, before=rate, after=rate, sessions=1, evidence=1, threshold=1, sentence="",
    )  # fmt: skip


def test_an_effect_is_begun_after_the_commit_and_again_after_a_restart_until_it_is_done(bus: MemoryBus) -> None:
    store, begun = MemoryStore(), []
    at_work = threading.Event()

    def interrupted(effect: Effect, context: EffectContext) -> Sequence[Event]:
        begun.append(effect.payload)
        at_work.set()
        context.cancelled.wait(10)
        return [alarm(effect.id)]

    def done(effect: Effect, context: EffectContext) -> Sequence[Event]:
        begun.append(effect.payload)
        return [alarm(effect.id)]

    publish(bus, command(why="it", kind=RetrainCommand))
    run_until(runner(bus, store, {"work": interrupted}), at_work.is_set)
    assert [effect.payload for effect in store.effects()] == ["it"]
    run_until(runner(bus, store, {"work": done}), lambda: not store.effects())
    assert begun == ["it", "it"]
    assert len([record for record in bus.read("pawl.drift") if record]) == 1


def test_what_was_begun_is_forgotten_when_it_has_ended() -> None:
    began: list[UUID] = []

    def note(effect: Effect, context: EffectContext) -> Sequence[Event]:
        began.append(effect.id)
        return ()

    pool = ThreadPoolExecutor(1)
    effects = EffectRunner({"work": note}, lambda _: None, logging.get("test"), pool=lambda _: pool)
    owed = [Effect(UUID(int=number), "work", "") for number in range(50)]
    for effect in (*owed, *owed):
        effects.begin(effect)
    pool.shutdown(wait=True)
    assert [each.effect for each in effects.finished()] == owed
    assert (began, effects._begun) == ([effect.id for effect in owed], set())


def test_an_effect_that_keeps_failing_is_given_up(bus: MemoryBus) -> None:
    store, attempts = MemoryStore(), []

    def failing(effect: Effect, context: EffectContext) -> Sequence[Event]:
        attempts.append(effect.id)
        raise OSError("disk full")

    publish(bus, command(kind=RetrainCommand))
    run_until(runner(bus, store, {"work": failing}), lambda: bool(attempts) and not store.effects())
    assert len(attempts) == 3
    assert [r for r in bus.read(TRAINING.name) if r] == []


def test_a_trace_leads_from_cause_to_effect(bus: MemoryBus, clock: ManualClock) -> None:
    store = MemoryStore()
    publish(bus, command())
    run_until(runner(bus, store), lambda: count(store) == 1)
    clock.advance(20)
    tick = encode(Tick(id=uuid.uuid4(), time=NOW, source="t", model="m", number=1), f"00-{'ab' * 16}-{'cd' * 8}-01")
    publish(bus, tick)
    run_until(runner(bus, store), lambda: count(store) == 0)
    last = [record for record in bus.read(COMMANDS.name) if record][-1]
    assert dict(last.headers)["traceparent"].decode().startswith(f"00-{'ab' * 16}-")


def test_the_next_batch_is_committed_while_the_broker_takes_what_came_of_the_one_before(
    bus: MemoryBus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, held = MemoryStore(), list[Future[Partition]]()

    def hold(message: Message) -> Future[Partition]:
        held.append(Future())
        return held[-1]

    pace = Pace(poll=0.01, backlog=0, committer=lambda: ThreadPoolExecutor(1))
    ahead = Runner("test", "test/0", "0", bus, store, [Counting()], pace=pace)
    ahead.start()
    monkeypatch.setattr(ahead._outbox, "_send", hold)

    def turn_until(condition: Callable[[], bool]) -> None:
        give_up = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < give_up, "did not happen"
            ahead.turn()

    publish(bus, command("a"))
    turn_until(lambda: count(store, "a") == 1)
    clock.advance(20)
    publish(bus, Tick(id=uuid.uuid4(), time=NOW, source="t", model="m", number=1))
    turn_until(lambda: count(store, "a") == 0)
    publish(bus, command("b"))
    turn_until(lambda: count(store, "b") == 1)
    assert [future.done() for future in held] == [False]
    assert len(store.outgoing(10)) == 1
    held[0].set_result(Partition(COMMANDS.name, 0))
    ahead.close()
    assert not store.outgoing(10)


def test_records_that_come_soon_after_join_the_batch(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pawl_shared.running.runner.FULL_BATCH", 50)
    store = MemoryStore()
    patient = Runner("test", "test/0", "0", bus, store, [Counting()], pace=Pace(gather=60))
    commits: list[Commit] = []
    store.commit = commits.append  # type: ignore[method-assign]
    publish(bus, command(), command())
    thread = threading.Thread(target=lambda: [patient.start(), patient.turn(), patient.close()])
    thread.start()
    publish(bus, *(command() for _ in range(48)))
    thread.join(30)
    assert [len(commit.seen) for commit in commits] == [50]


class Slow(MemoryBus):
    """Withholds what is on some topics, although it was sent."""

    withheld: frozenset[str] = frozenset()

    def _deliver(self, part: Partition, offset: int) -> list[Record]:
        return [] if part.topic in self.withheld else super()._deliver(part, offset)


def test_what_came_later_waits_for_what_came_first_on_another_partition(clock: ManualClock) -> None:
    bus, store = Slow(clock), MemoryStore()
    bus.create_topics(TOPICS)
    started = runner(bus, store)
    started.start()
    publish(bus, command())
    started.turn()
    bus.withheld = frozenset({COMMANDS.name})
    clock.advance(9)
    publish(bus, command("late"))
    clock.advance(2)
    publish(bus, Tick(id=uuid.uuid4(), time=NOW, source="t", model="m", number=1))
    for _ in range(3):
        started.turn()
    assert count(store) == 1, "the tick waits, since it came after a command that was not delivered yet"
    bus.withheld = frozenset()
    started.turn()
    assert (count(store), count(store, "late")) == (0, 1)
    started.close()


def test_who_joins_under_the_name_of_a_member_takes_its_place(bus: MemoryBus) -> None:
    older, newer = runner(bus, MemoryStore()), runner(bus, MemoryStore())
    older.start()
    older.turn()
    newer.start()
    newer.turn()
    with pytest.raises(FencedError, match="has joined"):
        older.turn()
    older.close()
    newer.turn()
    newer.close()


def test_what_another_member_has_changed_meanwhile_is_read_again(bus: MemoryBus) -> None:
    store = MemoryStore()
    first = runner(bus, store)
    first.start()
    publish(bus, command())
    first.turn()
    first._revoked([Partition(COMMANDS.name, 0)])
    store.commit(Commit(states={StateKey("counting", "m"): StoredState(Count(n=10).model_dump_json())}))
    first._assigned([Partition(COMMANDS.name, 0)])
    publish(bus, command())
    first.turn()
    assert count(store) == 11
    first.close()


def test_what_is_owed_is_a_metric(bus: MemoryBus) -> None:
    release = threading.Event()

    def work(effect: Effect, context: EffectContext) -> Sequence[Event]:
        release.wait(10)
        return ()

    def owed() -> float | None:
        return REGISTRY.get_sample_value("pawl_effects_owed", {"service": "test", "kind": "work"})

    started = runner(bus, MemoryStore(), {"work": work})
    started.start()
    publish(bus, command(kind=RetrainCommand), command(kind=RetrainCommand))
    while not started.turn():
        pass
    assert owed() == 2
    release.set()
    give_up = time.monotonic() + 10
    while owed():
        assert time.monotonic() < give_up, "it stays owed"
        started.turn()
    started.close()
