"""Watching topics: everything from the beginning, in order, and unreadable records are passed over."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from pawl_cli.commands import status
from pawl_cli.log.follow import Follower, everything
from pawl_shared import events as e
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Message
from pawl_shared.codec import encode
from pawl_shared.errors import PawlError
from pawl_shared.topics import DEPLOYMENTS, TOPICS

BASE = "a" * 64
VERSION = {"version": BASE, "base": BASE, "graph": BASE}


def deployment(revision: int) -> e.DeploymentChanged:
    return e.DeploymentChanged.model_validate(
        {"id": UUID(int=revision), "time": datetime(2026, 1, 1, 0, revision, tzinfo=UTC), "source": "t", "model": "m",
         "revision": revision, "champion": VERSION, "change": "registered"}
    )  # fmt: skip


def bus_with(*events: e.Event) -> MemoryBus:
    bus = MemoryBus()
    bus.create_topics(TOPICS)
    producer = bus.producer("test")
    producer.send(Message(DEPLOYMENTS.name, b"m", b"not an event")).result()
    for event in events:
        producer.send(encode(event)).result()
    return bus


def test_a_follower_sees_what_was_there_and_what_comes() -> None:
    bus = bus_with(deployment(1))
    follower = Follower(bus, [DEPLOYMENTS])
    try:
        assert follower.events.get(timeout=10) == deployment(1)
        bus.producer("test").send(encode(deployment(2))).result()
        assert follower.events.get(timeout=10) == deployment(2)
    finally:
        follower.stop()


def test_everything_is_everything_up_to_now() -> None:
    assert everything(bus_with(deployment(1), deployment(2)), DEPLOYMENTS) == [deployment(1), deployment(2)]


def test_the_status_takes_the_latest_and_a_model_that_is_not_known_is_an_error() -> None:
    (seen,) = status.read(bus_with(deployment(1), deployment(2)), "m").values()
    found = status.summary([each.event for each in seen])
    assert found["deployment"]["revision"] == 2
    assert (found["alarm"], found["run"], found["canary"]) == (None, None, None)
    with pytest.raises(PawlError, match="--model"):
        status.read(bus_with(), "other")
