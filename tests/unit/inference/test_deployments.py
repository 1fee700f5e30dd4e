"""What a replica does with deployments, on a fake engine and a memory bus."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from support.inference import BASE, CANARY, MODEL, World, digest, eventually, running

from pawl_inference.domain.assignment import ModelLoadingError
from pawl_inference.server import InferenceService
from pawl_inference.versions import follower
from pawl_inference.versions.routing import Route
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Message, Record
from pawl_shared.errors import BusError
from pawl_shared.events import DeployedVersion
from pawl_shared.topics import DEAD_LETTERS, DEPLOYMENTS, REPLICAS, TOPICS


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def service(world: World) -> Iterator[InferenceService]:
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        yield service


def route(service: InferenceService) -> Route:
    return service.routes.all()[MODEL]


def applied(world: World, revision: int) -> None:
    eventually(lambda: any(report.applied.get(MODEL) == revision for report in world.read(REPLICAS)))


def test_only_the_newest_revision_is_loaded_at_a_start(world: World) -> None:
    world.deploy(1)
    world.deploy(2, champion=world.adapter("old"))
    world.deploy(3, champion=world.adapter("new"), challenger=world.adapter("newer"), canary=CANARY, share=0.1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        assert set(world.engine.published) == {digest("new"), digest("newer")}
        assert route(service).deployment.revision == 3
        report = eventually(lambda: [r for r in world.read(REPLICAS) if r.applied])[-1]  # the first says: unready
        assert (report.applied, report.healthy, report.problems) == ({MODEL: 3}, True, ())
        assert set(report.slots.values()) == {BASE, digest("new"), digest("newer")}


def test_a_replica_says_that_it_lives_and_that_it_was_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "HEARTBEAT_SECONDS", 0.0)
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        eventually(lambda: len(world.read(REPLICAS)) > 2)
        assert not any(report.stopped for report in world.read(REPLICAS))
    last = world.read(REPLICAS)[-1]
    assert (last.stopped, last.applied) == (True, {MODEL: 1})


class Away(MemoryBus):
    """Readers of deployments are cut off while `away` is set."""

    away = False

    def read(self, topic: str, *arguments: Any, **named: Any) -> Iterator[Record | None]:
        for record in super().read(topic, *arguments, **named):
            if self.away and topic == DEPLOYMENTS.name:
                raise BusError("no broker answers")
            yield record


def test_a_replica_that_is_cut_off_says_so_and_serves_on(world: World) -> None:
    world.bus = away = Away()
    away.create_topics(TOPICS)
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        assert service.health.report == "ready"
        away.away = True
        eventually(lambda: "cut off from Kafka" in service.health.report)
        assert service.health.ready
        assert metric("pawl_inference_deployments_cut_off_seconds") > 0
        world.deploy(2, champion=world.adapter("new"), change="promoted")
        assert route(service).deployment.revision == 1
        away.away = False
        applied(world, 2)
        assert service.health.report == "ready"
        assert metric("pawl_inference_deployments_cut_off_seconds") == 0


def metric(name: str) -> float:
    value = REGISTRY.get_sample_value(name)
    assert value is not None
    return value


class SlowStart(MemoryBus):
    """A broker that is not there at first, and then gives of a topic the first records before it gives the rest."""

    refusals = 2

    def read(self, topic: str, *arguments: Any, **named: Any) -> Iterator[Record | None]:
        if topic == DEPLOYMENTS.name and self.refusals:
            self.refusals -= 1
            raise BusError("no broker answers")
        for number, record in enumerate(super().read(topic, *arguments, **named)):
            if topic == DEPLOYMENTS.name and number == 1:
                assert self.half.wait(30)
            yield record

    def __init__(self) -> None:
        super().__init__()
        self.half = threading.Event()


def test_however_slow_the_broker_is_at_a_start_nothing_older_than_the_end_is_served(world: World) -> None:
    world.bus = slow = SlowStart()
    slow.create_topics(TOPICS)
    world.deploy(1)
    world.deploy(2, champion=world.adapter("new"), change="promoted")
    with running(world) as service:
        eventually(lambda: slow.refusals == 0)
        assert not service.health.ready
        assert not service.routes.all()
        slow.half.set()
        eventually(lambda: service.health.ready)
        assert route(service).deployment.revision == 2
        assert [set(engine.published) for engine in world.engines] == [{digest("new")}]


def test_a_promotion_switches_and_lets_the_old_go(service: InferenceService, world: World) -> None:
    first, second = world.adapter("first"), world.adapter("second")
    world.deploy(2, champion=first, challenger=second, canary=CANARY, share=0.5, change="canary")
    applied(world, 2)
    world.deploy(3, champion=second, change="promoted")
    applied(world, 3)
    eventually(lambda: world.engine.retired)
    assert world.engine.retired == [first.version]
    assert route(service).deployment.champion == second
    assert [version.version for version in route(service).versions] == [BASE, second.version]
    assert len(world.engines) == 1


def test_older_and_repeated_revisions_change_nothing(service: InferenceService, world: World) -> None:
    world.deploy(5, champion=world.adapter("new"))
    applied(world, 5)
    world.deploy(4, champion=world.adapter("old"))
    world.deploy(5, champion=world.adapter("other"))
    world.deploy(1, model="default/marker")
    eventually(lambda: "default/marker" in service.routes.all())
    assert route(service).deployment.champion.version == digest("new")


def test_a_bad_challenger_is_refused_and_the_champion_serves_on(service: InferenceService, world: World) -> None:
    world.deploy(2, challenger=world.adapter("bad"), canary=CANARY, share=0.5, change="canary")
    report = eventually(lambda: next((r for r in world.read(REPLICAS) if r.problems), None))
    assert "revision 2" in report.problems[0]
    assert "not_finite" in report.problems[0]
    assert report.applied == {MODEL: 1}
    assert report.healthy
    assert service.health.ready
    assert (route(service).deployment.challenger, route(service).deployment.canary) == (None, None)
    world.deploy(3, change="rolled-back")
    applied(world, 3)
    assert world.read(REPLICAS)[-1].problems == ()


def test_a_bad_champion_leaves_what_was_served(service: InferenceService, world: World) -> None:
    world.deploy(2, champion=world.adapter("bad"))
    eventually(lambda: any(report.problems for report in world.read(REPLICAS)))
    assert route(service).deployment.revision == 1
    assert service.health.ready


def test_a_replica_whose_first_champion_is_bad_is_not_ready_and_says_why(world: World) -> None:
    world.deploy(1, champion=world.adapter("bad"))
    with running(world) as service:
        eventually(lambda: "not_finite" in service.health.obstacles.get("deployment", ""))
        assert not service.health.ready
        assert not eventually(lambda: world.read(REPLICAS))[-1].healthy


def test_a_model_that_never_can_be_served_takes_no_other_one_away(world: World) -> None:
    world.deploy(1)
    world.deploy(1, model="default/writer", champion=world.adapter("bad"))
    with running(world) as service:
        eventually(lambda: service.health.ready)
        report = eventually(lambda: [r for r in world.read(REPLICAS) if r.applied.get(MODEL) and r.problems])[-1]
        assert report.applied == {MODEL: 1, "default/writer": 0}
        assert "not_finite" in report.problems[0]


def test_a_model_that_comes_later_is_asked_for_again_and_takes_no_other_one_away(
    service: InferenceService, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pawl_inference.versions.deployments.RETRY_SECONDS", 0.05)
    late = world.adapter("late").model_copy(update={"slot_file": digest("content that comes late")})
    world.deploy(1, model="default/coder", champion=late)
    eventually(lambda: any("no artifact" in problem for r in world.read(REPLICAS) for problem in r.problems))
    assert service.health.ready
    assert world.read(REPLICAS)[-1].healthy
    assert world.read(REPLICAS)[-1].applied == {MODEL: 1, "default/coder": 0}, "its readers are to hear of it"
    with pytest.raises(ModelLoadingError):
        service.routes.resolve("coder", "")
    world.store.put_bytes(b"content that comes late")
    eventually(lambda: "default/coder" in service.routes.all())
    assert service.routes.resolve("coder", "")[1].served == late


def test_a_replica_that_starts_where_a_model_cannot_be_fetched_serves_the_others(world: World) -> None:
    world.deploy(1)
    late = world.adapter("late").model_copy(update={"slot_file": digest("content that comes late")})
    world.deploy(1, model="default/coder", champion=late)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        assert set(service.routes.all()) == {MODEL}
        report = eventually(lambda: [r for r in world.read(REPLICAS) if r.healthy])[-1]
        assert report.problems[0].startswith("default/coder, revision 1: ")
        with pytest.raises(ModelLoadingError):
            service.routes.resolve("coder", "")


def test_what_nobody_expected_of_one_model_keeps_no_other_one_waiting(
    service: InferenceService, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pawl_inference.versions.deployments.RETRY_SECONDS", 0.05)
    publish, broken = world.engine.publish, [True]

    def fails(version: str, *arguments: Any, **named: Any) -> None:
        if version == digest("first") and broken:
            raise RuntimeError("of the runtime's own")
        publish(version, *arguments, **named)

    monkeypatch.setattr(world.engine, "publish", fails)
    world.deploy(2, champion=world.adapter("first"))
    world.deploy(1, model="default/writer", champion=world.adapter("second"))
    eventually(lambda: "default/writer" in service.routes.all())
    problem = eventually(lambda: next((r.problems[0] for r in world.read(REPLICAS) if r.problems), None))
    assert problem == f"{MODEL}, revision 2: RuntimeError: of the runtime's own"
    broken.clear()
    applied(world, 2)


def test_a_store_that_does_not_answer_keeps_no_rollback_waiting(
    service: InferenceService, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, fetch, answers = world.adapter("first"), world.store.fetch_file, threading.Event()

    def silent(digest: str) -> Path:
        if digest == first.slot_file:
            answers.wait()
        return fetch(digest)

    monkeypatch.setattr(world.store, "local", False)
    monkeypatch.setattr(world.store, "fetch_file", silent)
    try:
        world.deploy(2, champion=first)
        world.deploy(1, model="default/writer", champion=world.adapter("second"))
        eventually(lambda: "default/writer" in service.routes.all())
        assert route(service).deployment.revision == 1
        world.deploy(3, champion=world.adapter("third"))
        applied(world, 3)
    finally:
        answers.set()
    world.deploy(4, champion=first)
    applied(world, 4)


def test_an_artifact_that_comes_late_is_tried_again(
    service: InferenceService, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pawl_inference.versions.deployments.RETRY_SECONDS", 0.05)
    late = world.adapter("late").model_copy(update={"slot_file": digest("content that comes late")})
    world.deploy(2, champion=late)
    eventually(lambda: any("no artifact" in problem for r in world.read(REPLICAS) for problem in r.problems))
    assert world.store.put_bytes(b"content that comes late") == late.slot_file
    applied(world, 2)
    assert world.read(REPLICAS)[-1].problems == ()


@pytest.mark.parametrize("wrong", ["base", "itself"])
def test_a_version_of_another_base_is_refused(service: InferenceService, world: World, wrong: str) -> None:
    other = digest("another base")
    champion = {
        "base": world.adapter("new").model_copy(update={"base": other}),
        "itself": DeployedVersion(version=other, base=BASE, graph=world.graph),
    }[wrong]
    world.deploy(2, champion=champion)
    eventually(lambda: any("belongs to base" in problem for r in world.read(REPLICAS) for problem in r.problems))
    assert route(service).deployment.revision == 1


def test_two_models_share_one_graph(service: InferenceService, world: World) -> None:
    world.deploy(1, model="default/writer", champion=world.adapter("writer"))
    eventually(lambda: "default/writer" in service.routes.all())
    assert len(world.engines) == 1
    assert service.routes.all()["default/writer"].hosts == route(service).hosts
    world.deploy(2, champion=world.adapter("new"))
    applied(world, 2)
    assert set(world.engine.published) == {digest("writer"), digest("new")}


def test_a_new_base_graph_gets_an_engine_of_its_own_and_the_old_one_ends(
    service: InferenceService, world: World, tmp_path: Path
) -> None:
    other = tmp_path / "other-graph"
    other.mkdir()
    (other / "model.onnx").write_text("another")
    world.deploy(2, champion=world.base().model_copy(update={"graph": world.store.put_folder(other)}))
    applied(world, 2)
    eventually(lambda: world.engines[0].closed)
    assert [engine.closed for engine in world.engines] == [True, False]


def test_a_rollback_finds_the_engine_that_still_has_answers_to_finish(
    service: InferenceService, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.engine, "close_if_idle", lambda: False)
    other = tmp_path / "other-graph"
    other.mkdir()
    (other / "model.onnx").write_text("another")
    world.deploy(2, champion=world.base().model_copy(update={"graph": world.store.put_folder(other)}))
    applied(world, 2)
    world.deploy(3)
    applied(world, 3)
    eventually(lambda: world.engines[1].closed)
    assert len(world.engines) == 2
    assert not world.engines[0].closed
    assert route(service).host(world.base()).engine is world.engines[0]


def test_what_cannot_be_read_goes_to_the_dead_letters(service: InferenceService, world: World) -> None:
    world.bus.producer("test").send(Message(DEPLOYMENTS.name, b"k", b"{", (("ce_type", b"nonsense"),)))
    (letter,) = eventually(lambda: world.read(DEAD_LETTERS))
    assert (letter.topic, letter.service) == (DEPLOYMENTS.name, "inference")
    assert letter.reason
    world.deploy(2)
    applied(world, 2)
