"""What the follower does at the end of the deployments' topic, without a thread of its own."""

from pathlib import Path
from random import Random

import pytest
from support.inference import World, eventually

from pawl_inference.engine.port import NoFreeSlotError
from pawl_inference.record.publisher import Publisher
from pawl_inference.versions.deployments import Deployments
from pawl_inference.versions.follower import DeploymentFollower
from pawl_inference.versions.reports import Reports
from pawl_inference.versions.routing import RouteTable
from pawl_shared.clock import SystemClock
from pawl_shared.service import Health
from pawl_shared.topics import DEPLOYMENTS


def test_a_version_has_its_slot_when_an_answer_ends_and_not_when_the_topic_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, routes = World(tmp_path), RouteTable()
    reports = Reports(Publisher(world.bus, "test", 5), source="test", url="", clock=SystemClock(), rng=Random(0))
    deployments = Deployments(world.store, world.make_engine, routes)
    follower = DeploymentFollower(world.bus, deployments, Health("test"), reports)
    world.deploy(1)
    world.deploy(2, champion=(new := world.adapter("new")), change="promoted")
    first, second = [record for record in world.bus.read(DEPLOYMENTS.name) if record]
    follower.follow([first])

    def served() -> bool:
        follower.follow([None])
        return deployments.served

    eventually(served)
    held, publish, insisted = [True, True], world.engine.publish, list[bool]()

    def busy(version: str, slot_file: Path, *, insist: bool) -> None:
        insisted.append(insist)
        if held:
            held.pop()
            raise NoFreeSlotError("each of the slots has answers to finish")
        publish(version, slot_file)

    monkeypatch.setattr(world.engine, "publish", busy)
    follower.follow([second, None])
    assert [route.deployment.champion for route in routes.all().values()] == [new]
    assert not deployments.problems
    assert insisted == [False, True, True]  # a promotion is not kept out by versions that are asked for all the time
    follower.stop()
