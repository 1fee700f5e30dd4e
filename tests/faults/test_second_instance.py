"""A second process of a service that may be only one says no, before it takes anything from the first."""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable

import pytest
from support.echoing_runner import Echo

from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Bus
from pawl_shared.errors import BusError, SecondInstanceError
from pawl_shared.running.runner import Pace, Runner
from pawl_shared.stores.memory import MemoryStore
from pawl_shared.topics import TOPICS


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up, "did not happen"
        time.sleep(0.05)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.slow])])
def bus(request: pytest.FixtureRequest) -> Bus:
    made = MemoryBus() if request.param == "memory" else KafkaBus(request.getfixturevalue("kafka"))
    made.create_topics(TOPICS)
    return made


def members(bus: Bus, service: str) -> set[str]:
    """None of them while a broker that has just been started does not say."""
    with contextlib.suppress(BusError):
        return bus.members(f"pawl-{service}")
    return set()


def runner(bus: Bus, service: str, instance: str, patience: float = 0) -> Runner:
    return Runner(service, service, instance, bus, MemoryStore(), [Echo(service)], pace=Pace(alone=patience))


def test_the_second_is_refused_and_the_first_goes_on(bus: Bus) -> None:
    service, stop = f"test-{uuid.uuid4().hex}", threading.Event()
    first = runner(bus, service, "b")
    working = threading.Thread(target=first.run, args=[stop])
    working.start()
    try:
        until(lambda: members(bus, service) == {"b"})
        for name in ("a", "c"):
            with pytest.raises(SecondInstanceError, match=f"instance 'b' works in .* already, and '{name}' would take"):
                runner(bus, service, name).start()
        assert bus.members(f"pawl-{service}") == {"b"}
        assert working.is_alive()
    finally:
        stop.set()
        working.join(60)
    assert not working.is_alive()


def test_it_takes_over_when_the_first_ends_in_time() -> None:
    bus, waits = MemoryBus(), list[float]()
    bus.create_topics(TOPICS)
    first, second = runner(bus, "test", "a"), runner(bus, "test", "b", patience=15)
    first.start()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            first.close()

    second._pace = Pace(alone=15, sleep=sleep)
    second.start()
    assert len(waits) == 3
    assert bus.members("pawl-test") == {"b"}
    second.turn()


def test_of_two_that_entered_at_once_the_one_whose_name_is_first_stays() -> None:
    bus = MemoryBus()
    bus.create_topics(TOPICS)
    first, second = runner(bus, "test", "a"), runner(bus, "test", "b")
    second._alone.enter = lambda sleep: None  # type: ignore[method-assign]
    first.start()
    second.start()
    first.turn()
    with pytest.raises(SecondInstanceError):
        second.turn()
    second.close()
    first.turn()


def test_where_the_broker_does_not_say_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bus, said = MemoryBus(), list[str]()
    bus.create_topics(TOPICS)

    def silent(group: str) -> set[str]:
        said.append(group)
        raise BusError("the coordinator is loading")

    monkeypatch.setattr(bus, "members", silent)
    second = runner(bus, "test", "b")
    second.start()
    second.turn()
    second.turn()
    assert len(said) == 3
    monkeypatch.setattr(bus, "members", lambda group: {"a", "b"})
    with pytest.raises(SecondInstanceError):
        second.turn()
    second.close()
