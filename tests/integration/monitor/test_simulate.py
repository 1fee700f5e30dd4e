"""A policy tried on the log of a monitor that has decided by another one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.monitor import MODEL, World

from pawl_monitor.simulate import Simulation, report
from pawl_monitor.storage.counting import Counting
from pawl_monitor.views.gather import Gather
from pawl_shared import events as e
from pawl_shared.policies.model_policy import ModelPolicy

DETECTORS = {"approval": {"reference_sessions": 50}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """It was content, then not; an alarm was raised and a run asked for."""
    world = World(Path(tmp_path_factory.mktemp("world")))
    world.deploy()
    world.sessions(60, approval=0.9)
    world.sessions(45, approval=0.1, corrections=0.8)
    world.weigh()
    world.tick(60)
    yield world
    world.close()


def simulated(world: World, **triggers: Any) -> dict[str, Any]:
    policy = ModelPolicy.model_validate(
        {"model": MODEL, "detectors": DETECTORS, "triggers": {"min_heldout_pairs": 1, **triggers}}
    )
    gather = Gather(world.reader, Counting(world.reader, world.texts), world.policy)
    feedback = gather.usable(MODEL, world.now, policy.triggers.heldout_share)
    return report(Simulation(policy=policy, feedback=feedback), world.bus, lambda _: None)


def test_the_policy_that_was_valid_would_have_decided_what_it_did(world: World) -> None:
    found = simulated(world)
    assert (found["fired"], found["alarms"]) == (1, 1)
    assert found["logged"] == {"fired": 1, "alarms": 1}
    (alarm,) = world.events(e.DriftDetected)
    (request,) = world.events(e.RetrainRequested)
    said = {happening["what"]: happening["sentence"] for happening in found["happenings"]}
    assert said["alarm"] == alarm.sentence
    assert said["fired"] == "retrain: " + "; ".join(request.reasons)
    assert found["happenings"][0]["what"] == "alarm"


def test_a_stricter_policy_would_have_waited_and_says_for_what(world: World) -> None:
    found = simulated(world, min_pairs=1000, min_up=1000)
    assert (found["fired"], found["alarms"]) == (0, 1)
    waiting = [happening for happening in found["happenings"] if happening["what"] == "waiting"]
    assert len(waiting) == 1, "the same condition is told once"
    assert "of 1000 corrections" in waiting[0]["sentence"]


def test_another_policy_would_have_fired_by_the_schedule_and_alarms_alone_would_not(world: World) -> None:
    often = simulated(world, every="1m", cooldown="1m", drift=False)
    assert often["fired"] >= 2
    assert simulated(world, every="1m", cooldown="1m", drift=False, budget={"runs_per_week": 2})["fired"] == 2
    assert simulated(world, drift=False)["fired"] == 0


def test_nothing_is_published(world: World) -> None:
    before = [len(world.events(kind)) for kind in (e.DriftDetected, e.RetrainRequested)]
    simulated(world)
    world.pump()
    assert [len(world.events(kind)) for kind in (e.DriftDetected, e.RetrainRequested)] == before
