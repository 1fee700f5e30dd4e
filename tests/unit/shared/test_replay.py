"""Replay: what is decided again, what it is compared with, and what it holds in memory."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from pydantic import BaseModel
from support.samples import SAMPLES

from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Record
from pawl_shared.clock import ManualClock
from pawl_shared.codec import decode, encode
from pawl_shared.events import DeploymentChanged, DriftResolved, Event, ExperimentArm, Interval, PauseCommand
from pawl_shared.events.deployment import Experiment
from pawl_shared.ids import derived_id
from pawl_shared.running.comparison import MISSING, Comparison, compare
from pawl_shared.running.fold import Delivery, Step
from pawl_shared.running.rebuild import Plan, logged, rebuild
from pawl_shared.running.replay import replay
from pawl_shared.running.runner import Pace
from pawl_shared.stores import seen_hours
from pawl_shared.stores.port import Effect
from pawl_shared.topics import COMMANDS, DRIFT

START = datetime(2026, 1, 1, tzinfo=UTC)
RATE = Interval(point=0.5, low=0.4, high=0.6, n=9)


class Count(BaseModel):
    number: int = 0


def decision(cause: Event, number: int) -> DriftResolved:
    return DriftResolved(
        id=derived_id(cause.id, "tenth"), time=cause.time, source="test", cause=cause.id, model="m", alarm=UUID(int=1),
        now=RATE, sentence=f"{number} commands",
    )  # fmt: skip


class EveryTenth:
    """Decides at every tenth command; owes an effect at every twentieth."""

    name = "tenth"
    topics: tuple[str, ...] = (COMMANDS.name,)
    state = Count

    def keys(self, event: Event) -> Sequence[str]:
        return ["m"]

    def step(self, key: str, state: Count | None, delivery: Delivery) -> Step[Count]:
        number = (state.number if state else 0) + 1
        events = (decision(delivery.event, number),) if number % 10 == 0 else ()
        effects = (Effect(derived_id(delivery.event.id, "owed"), "work", str(number)),) if number % 20 == 0 else ()
        return Step(Count(number=number), events=events, effects=effects)


class Log:
    """A log of commands, an hour apart, with each one twice, and the decisions on it."""

    def __init__(self, commands: int) -> None:
        self.clock = ManualClock(START)
        self.bus = MemoryBus(self.clock)
        self.bus.create_topics([COMMANDS, DRIFT])
        for number in range(1, commands + 1):
            event = PauseCommand(id=UUID(int=number), time=self.clock.now(), source="test", model="m", who="test")
            self.publish(event, event)
            if number % 10 == 0:
                self.publish(decision(event, number))
            self.clock.advance(3600)

    def publish(self, *events: Event) -> None:
        producer = self.bus.producer("test")
        for event in events:
            producer.send(encode(event)).result()


def plan(kept: timedelta | None = None) -> Plan:
    return Plan("test", (EveryTenth(),), (DriftResolved,), kept)


PACE = Pace(poll=0, sleep=lambda _: None)


def test_the_same_decisions_are_the_same() -> None:
    log = Log(40)
    owed: list[Effect] = []
    rebuilt = rebuild(log.bus, plan(), owed.append, pace=PACE)
    found = compare(rebuilt, logged(log.bus, (DriftResolved,)))
    assert (found.same, found.differences) == ({DriftResolved.TYPE: 4}, [])
    assert [effect.payload for effect in owed] == ["20", "40"]
    assert rebuilt.records == 80


def test_what_is_forged_altered_or_missing_is_told_and_what_lost_its_cause_is_not() -> None:
    log = Log(40)
    (first, *_) = logged(log.bus, (DriftResolved,)).values()
    assert isinstance(first, DriftResolved)
    forged = first.model_copy(update={"id": UUID(int=7)})
    log.publish(forged, forged.model_copy(update={"id": UUID(int=8), "cause": UUID(int=9_999)}))
    rebuilt = rebuild(log.bus, plan(), pace=PACE)
    on_log = logged(log.bus, (DriftResolved,))
    missing = list(on_log)[3]
    on_log[first.id] = first.model_copy(update={"sentence": "never"})
    del on_log[missing]
    found = compare(rebuilt, on_log).differences
    assert {(each.id, each.what.split(",")[0]) for each in found} == {
        (first.id, "it comes out differently"),
        (missing, MISSING.split(",")[0]),
        (forged.id, "the log has it"),
    }
    assert [each.fields for each in found if each.id == first.id] == [(("sentence", "never", "10 commands"),)]


def written_before(event: Event, *fields: str) -> Event:
    """As it is read from a log whose writer did not know these fields (a dot leads into one)."""
    message = encode(event)
    value = json.loads(message.value or b"")
    for name in fields:
        *within, last = name.split(".")
        part = value
        for step in within:
            part = part[int(step)] if isinstance(part, list) else part[step]
        del part[last]
    record = Record(message.topic, 0, 0, START, message.key, json.dumps(value).encode(), message.headers)
    return decode(record)


def sample(kind: type[Event]) -> Event:
    return next(event for event in SAMPLES if isinstance(event, kind))


def test_a_field_that_was_added_since_is_named_and_is_no_difference() -> None:
    now = sample(DeploymentChanged)
    assert isinstance(now, DeploymentChanged)
    now = now.model_copy(update={"champion": now.champion.model_copy(update={"run": UUID(int=5)}), "policy": "f" * 64})
    result = Comparison()
    result.add(written_before(now, "champion.run", "policy"), now)
    result.add(written_before(now, "champion.run"), now)
    assert (result.differences, result.same) == ([], {now.TYPE: 2})
    assert result.new == {(now.TYPE, "champion.run"): 2, (now.TYPE, "policy"): 1}


def test_a_field_that_was_added_since_and_is_empty_is_nothing() -> None:
    now = sample(DeploymentChanged)
    assert isinstance(now, DeploymentChanged)
    now = now.model_copy(update={"champion": now.champion.model_copy(update={"run": None})})
    result = Comparison()
    result.add(written_before(now, "champion.run"), now)
    assert (result.differences, result.new) == ([], {})


def test_a_difference_in_a_field_that_the_log_states_is_found_beside_one_that_is_new() -> None:
    now = sample(DeploymentChanged)
    assert isinstance(now, DeploymentChanged)
    assert now.experiment is None
    served = now.champion.model_copy(update={"run": UUID(int=5)})
    arms = tuple(ExperimentArm(name=name, share=0.5, served=served) for name in ("one", "two"))
    now = now.model_copy(update={"experiment": Experiment(id=UUID(int=1), name="a", arms=arms, alpha=0.05)})
    other = arms[1].model_copy(update={"share": 0.4})
    again = now.model_copy(
        update={"experiment": now.experiment and now.experiment.model_copy(update={"arms": (arms[0], other)})}
    )
    result = Comparison()
    result.add(written_before(now, "experiment.arms.1.served.run"), again)
    (found,) = result.differences
    assert found.fields == (("experiment.arms.1.share", 0.5, 0.4),)
    assert result.new == {(now.TYPE, "experiment.arms.1.served.run"): 1}
    stated_as_none = now.model_copy(update={"champion": now.champion.model_copy(update={"run": None})})
    result = Comparison()
    result.add(written_before(stated_as_none), now.model_copy(update={"champion": served}))
    assert [each.fields for each in result.differences] == [(("champion.run", None, str(UUID(int=5))),)]


def test_the_report_of_a_service() -> None:
    report = replay(Log(20).bus, plan())
    assert (report["same"], report["records"], report["decisions"]) == (True, 40, {DriftResolved.TYPE: 2})


@pytest.mark.parametrize(("kept", "most"), [(timedelta(days=2), 49), (None, 400)])
def test_it_remembers_no_longer_than_the_service_itself(
    monkeypatch: pytest.MonkeyPatch, kept: timedelta | None, most: int
) -> None:
    """Hours of ids, one an hour: flat, whatever the log's length."""
    sizes: list[int] = []
    take: Callable[..., None] = seen_hours.SeenHours.take

    def watched(self: seen_hours.SeenHours, chunks: object) -> None:
        take(self, chunks)
        sizes.append(len(self._hours))

    monkeypatch.setattr(seen_hours.SeenHours, "take", watched)
    log = Log(400)
    monkeypatch.setattr(log.bus, "_deliver", lambda part, offset: log.bus._after(part, offset)[:2])
    rebuilt = rebuild(log.bus, plan(kept), pace=PACE)
    assert rebuilt.records == 800
    assert max(sizes) == most
