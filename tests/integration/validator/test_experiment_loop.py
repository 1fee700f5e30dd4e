"""Experiments through the validator's real runner, codec and Kafka store in memory: begun, watched, ended."""

import pytest
from support.validator import BASE, GOOD, HARMFUL, MODEL, World, version

from pawl_shared import events as e
from pawl_shared.ids import derived_id
from pawl_shared.policies.experiment_spec import ArmSpec, ExperimentSpec
from pawl_shared.running.rebuild import Plan
from pawl_shared.running.replay import replay
from pawl_validator.handlers.folds import DeploymentFold
from pawl_validator.replay import DECIDED

TWO = {"plain": ArmSpec(share=0.5), "kind": ArmSpec(share=0.5, system="Be kind.")}


def registered(**options: object) -> World:
    world = World(**options)  # type: ignore[arg-type]
    world.register()
    return world


def start(world: World, arms: dict[str, ArmSpec] | None = None, **limits: object) -> None:
    spec = ExperimentSpec(name="tone", model=MODEL, arms=arms or TWO, **limits)  # type: ignore[arg-type]
    world.command(e.StartExperimentCommand, experiment=spec)


def refusal(world: World) -> str:
    return world.events(e.DeadLetter)[-1].reason


def test_its_arms_answer_until_somebody_ends_it_and_nothing_is_promoted() -> None:
    world = registered()
    start(world)
    running = world.deployment
    assert running.change == "experiment"
    assert running.experiment is not None
    assert [(arm.name, arm.served.version, arm.sets) for arm in running.experiment.arms] == [
        ("plain", BASE, False), ("kind", BASE, True),
    ]  # fmt: skip
    assert running.cause is not None
    assert running.experiment.id == derived_id(running.cause, "experiment")
    world.sessions(1500, lambda arm: 0.8 if arm == "kind" else 0.5, rated=0.6)
    report = world.events(e.ExperimentObserved)[-1]
    assert report.sessions > 1400
    assert [(arm.arm, arm.means) for arm in report.arms] == [("plain", {"words": 10.0}), ("kind", {"words": 10.0})]
    assert report.arms[1].approval.low > report.arms[0].approval.high - 0.1
    (gap,) = report.compared
    assert (gap.arm, gap.control) == ("kind", "plain")
    assert 0 < gap.low < 0.3 < gap.high
    assert report.warnings == ()
    world.command(e.StopExperimentCommand)
    assert world.changes == ["registered", "experiment", "experiment-over"]
    assert (world.deployment.experiment, world.deployment.champion.version) == (None, BASE)
    last = world.events(e.ExperimentObserved)[-1]
    assert (last.over, last.sessions) == (True, 1500)


@pytest.mark.parametrize("copies", [1, 2])
def test_a_restart_in_the_middle_neither_loses_nor_doubles_a_session(copies: int) -> None:
    steady, shaken = registered(), registered(restart_every=3)
    for world in (steady, shaken):
        start(world, limit_sessions=60)
    steady.sessions(60, lambda _: 0.6)
    shaken.sessions(60, lambda _: 0.6, copies=copies)
    assert steady.changes[-1] == "experiment-over"
    for cls in (e.DeploymentChanged, e.ExperimentObserved):
        assert shaken.events(cls) == steady.events(cls)


def test_it_ends_by_its_own_limits() -> None:
    world = registered()
    start(world, limit_hours=5)
    world.tick(hours=4)
    assert world.deployment.experiment is not None
    world.tick(hours=2)
    assert world.changes[-1] == "experiment-over"
    assert "after its 5 hours" in world.deployment.reasons[0]


def test_a_canary_waits_for_its_end() -> None:
    world = registered()
    start(world)
    world.train(GOOD)
    assert world.changes == ["registered", "experiment"]
    world.command(e.StopExperimentCommand)
    assert world.changes[-2:] == ["experiment-over", "canary"]
    start(world)
    assert "a canary of" in refusal(world)
    assert "pawl rollback" in refusal(world)


def test_a_version_that_waits_may_be_an_arm_and_what_cannot_serve_may_not() -> None:
    world = registered()
    world.command(e.PauseCommand)
    world.train(GOOD)
    start(world, {"old": ArmSpec(share=0.5), "new": ArmSpec(share=0.3, version=GOOD[:8])})
    experiment = world.deployment.experiment
    assert experiment is not None
    assert [arm.served.version for arm in experiment.arms] == [BASE, GOOD]
    start(world)
    assert "the experiment tone runs" in refusal(world)
    world.command(e.StopExperimentCommand)
    world.command(e.StopExperimentCommand)
    assert "no experiment runs" in refusal(world)
    start(world, {"old": ArmSpec(share=0.5), "new": ArmSpec(share=0.3, version="123456")})
    assert "no version that begins with 123456" in refusal(world)
    assert world.changes[-1] == "experiment-over"


def test_a_rejected_arm_ends_it() -> None:
    world = registered()
    world.command(e.PauseCommand)
    world.train(GOOD, 1)
    world.train(version(8), 2)
    start(world, {"old": ArmSpec(share=0.5), "new": ArmSpec(share=0.3, version=GOOD[:8])})
    world.command(e.ApproveCommand, version=version(8), verdict="reject")
    assert world.deployment.experiment is not None, "that is none of its arms"
    world.command(e.ApproveCommand, version=GOOD, verdict="reject")
    ended = world.deployment
    assert (ended.change, ended.experiment, ended.who) == ("experiment-over", None, "op")
    assert ended.reasons[:2] == (
        "rejected by op: a test",
        "the experiment tone ends by it: its arm new was that version",
    )
    assert world.events(e.ExperimentObserved)[-1].over
    assert world.stage(GOOD) == "rejected"
    assert [event.adapter for event in world.events(e.CandidateRejected)] == [version(8), GOOD]
    world.command(e.PauseCommand, paused=False)
    assert world.deployment.challenger is None, "neither waits in the queue any more"


def test_another_champion_ends_it() -> None:
    world = registered()
    start(world)
    world.train(GOOD)
    world.command(e.PromoteCommand, version=GOOD)
    promoted = world.deployment
    assert (promoted.change, promoted.experiment) == ("promoted", None)
    assert "the experiment tone ends by it" in promoted.reasons[-1]
    assert world.events(e.ExperimentObserved)[-1].over
    start(world)
    world.command(e.RollbackCommand)
    assert (world.deployment.change, world.deployment.experiment) == ("rolled-back", None)
    start(world)
    world.register(base=version(9))
    assert (world.deployment.change, world.deployment.experiment) == ("registered", None)


def test_a_pinned_model_runs_none_and_a_pin_ends_it() -> None:
    world = registered()
    start(world)
    world.command(e.PinCommand, version=BASE)
    assert (world.deployment.change, world.deployment.experiment) == ("pinned", None)
    start(world)
    assert "is pinned" in refusal(world)


def test_sessions_outside_of_it_are_none_of_it() -> None:
    world = registered()
    start(world, {"old": ArmSpec(share=0.2), "new": ArmSpec(share=0.1, temperature=0.2)})
    world.sessions(200, lambda _: 0.5)
    world.command(e.StopExperimentCommand)
    assert 30 < world.events(e.ExperimentObserved)[-1].sessions < 100
    seen = len(world.events(e.ExperimentObserved))
    world.sessions(5, lambda _: 0.5)
    assert len(world.events(e.ExperimentObserved)) == seen


def test_its_sessions_are_no_evidence_of_a_canary() -> None:
    world = registered()
    start(world)
    world.sessions(4, lambda _: 0.5)
    strays = world.events(e.SessionObserved)
    world.command(e.StopExperimentCommand)
    world.train(HARMFUL)
    for event in strays:
        world.publish(event.model_copy(update={"id": derived_id(event.id, "again")}))
    assert world.events(e.CanaryObserved) == []


def test_a_replay_makes_the_same_reports() -> None:
    world = World()
    world.spacing = 0.001  # a replay reads all topics in the order of arrival
    world.register()
    start(world, limit_sessions=150)
    world.sessions(200, lambda arm: 0.8 if arm == "kind" else 0.5, rated=0.6)
    report = replay(world.bus, Plan("validator", (DeploymentFold(world.policy, "replay"),), DECIDED, None))
    assert report["differences"] == []
    assert report["decisions"][e.ExperimentObserved.TYPE] == len(world.events(e.ExperimentObserved)) > 50
