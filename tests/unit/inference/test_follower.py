"""What the follower does at the end of the deployments' topic, without a thread of its own."""

import threading
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.inference import CANARY, MODEL, World, digest, eventually

from pawl_inference.engine.port import NoFreeSlotError
from pawl_inference.record.publisher import Publisher
from pawl_inference.versions.deployments import Deployments
from pawl_inference.versions.follower import DeploymentFollower
from pawl_inference.versions.reports import Reports
from pawl_inference.versions.routing import RouteTable
from pawl_shared.clock import SystemClock
from pawl_shared.service import Health
from pawl_shared.topics import DEPLOYMENTS


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class Followed:
    """A follower that has served the first deployment, of the base, and what its engine refuses."""

    def __init__(self, world: World) -> None:
        self.routes = RouteTable()
        reports = Reports(Publisher(world.bus, "test", 5), source="test", url="", clock=SystemClock(), rng=Random(0))
        self.deployments = Deployments(world.store, world.make_engine, self.routes)
        self.follower = DeploymentFollower(world.bus, self.deployments, Health("test"), reports)
        world.deploy(1)
        [first] = [record for record in world.bus.read(DEPLOYMENTS.name) if record]
        self.follower.follow([first])
        eventually(self._served)

    def _served(self) -> bool:
        self.follower.follow([None])
        return self.deployments.served

    def follow(self, world: World) -> None:
        *_, newest = [record for record in world.bus.read(DEPLOYMENTS.name) if record]
        self.follower.follow([newest, None])


def test_before_its_first_model_is_there_it_says_what_it_loads(world: World) -> None:
    health, loads = Health("test"), threading.Event()
    reports = Reports(Publisher(world.bus, "test", 5), source="test", url="", clock=SystemClock(), rng=Random(0))

    def make_engine(*given: Any) -> Any:
        assert loads.wait(10)
        return world.make_engine(*given)

    follower = DeploymentFollower(world.bus, Deployments(world.store, make_engine, RouteTable()), health, reports)
    assert "waiting for the first deployment" in health.report
    world.deploy(1)
    follower.follow([*world.bus.read(DEPLOYMENTS.name), None])
    assert f"loading {MODEL}, revision 1" in health.report
    loads.set()
    health.clear("start")
    eventually(lambda: follower.follow([None]) or health.ready)


def test_a_version_has_its_slot_when_an_answer_ends_and_not_when_the_topic_is_looked_at_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = Followed(world)
    world.deploy(2, champion=(new := world.adapter("new")), change="promoted")
    held, publish, insisted = [True, True], world.engine.publish, list[bool]()

    def busy(version: str, slot_file: Path, *, insist: bool) -> None:
        insisted.append(insist)
        if held:
            held.pop()
            raise NoFreeSlotError("each of the slots has answers to finish")
        publish(version, slot_file)

    monkeypatch.setattr(world.engine, "publish", busy)
    followed.follow(world)
    assert [route.deployment.champion for route in followed.routes.all().values()] == [new]
    assert not followed.deployments.problems
    assert insisted == [False, True, True]  # a promotion is not kept out by versions that are asked for all the time
    followed.follower.stop()


def test_a_model_that_cannot_be_fetched_keeps_no_other_one_from_its_slot(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = Followed(world)
    lost = world.adapter("lost").model_copy(update={"slot_file": digest("what is nowhere")})
    world.deploy(1, model="default/coder", champion=lost)
    followed.follow(world)
    assert "no artifact" in followed.deployments.problems["default/coder"]
    publish, fetch, held, fetched = world.engine.publish, world.store.fetch_file, [True, True], list[str]()

    def busy(version: str, slot_file: Path, *, insist: bool) -> None:
        if held:
            held.pop()
            raise NoFreeSlotError("each of the slots has answers to finish")
        publish(version, slot_file)

    def noted(artifact: str) -> Path:
        fetched.append(artifact)
        return fetch(artifact)

    monkeypatch.setattr(world.engine, "publish", busy)
    monkeypatch.setattr(world.store, "fetch_file", noted)
    world.deploy(2, champion=(new := world.adapter("new")), change="promoted")
    followed.follow(world)
    assert followed.deployments.applied == {MODEL: 2}
    assert set(fetched) == {new.slot_file}, "what failed a moment ago is not tried at every look for a slot"
    followed.follower.stop()


def test_a_challenger_may_take_the_slot_of_its_own_champion_which_is_loaded_when_it_is_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = Followed(world)
    champion, challenger = world.adapter("old"), world.adapter("new")
    world.deploy(2, champion=champion, challenger=challenger, canary=CANARY, share=0.5, change="canary")
    publish, published = world.engine.publish, list[str]()

    def one_slot(version: str, slot_file: Path, *, insist: bool) -> None:
        published.append(version)
        if world.engine.published and not insist:
            raise NoFreeSlotError("each of the slots has answers to finish")
        if world.engine.published:  # it is hidden, and has its answers to finish
            world.engine.published.clear()
            raise NoFreeSlotError("each of the slots has answers to finish")
        publish(version, slot_file)

    monkeypatch.setattr(world.engine, "publish", one_slot)
    followed.follow(world)
    assert published == [champion.version, *[challenger.version] * 3]
    assert followed.deployments.applied == {MODEL: 2}
    assert [route.deployment.challenger for route in followed.routes.all().values()] == [challenger]
    followed.follower.stop()
