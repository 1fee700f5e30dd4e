"""A rollback in the validator's place, through the real store and runner in memory (on Kafka: tests/faults)."""

from itertools import pairwise
from uuid import NAMESPACE_OID

import pytest
from support.validator import BASE, GOOD, HARMFUL, MODEL, World

from pawl_shared import events as e
from pawl_shared.errors import FencedError
from pawl_shared.ids import derived_id
from pawl_shared.running.rebuild import Plan
from pawl_shared.running.replay import replay
from pawl_validator.domain.deployment import RefusedError
from pawl_validator.force import force
from pawl_validator.handlers.folds import DeploymentFold
from pawl_validator.replay import DECIDED, forced
from pawl_validator.settings import ValidatorSettings

SETTINGS = ValidatorSettings(keep_seen_days=0)


def better(which: str) -> float:
    return 0.75 if which == GOOD else 0.21


def command(world: World, number: int = 1) -> e.RollbackCommand:
    world.clock.advance(1)
    identity = derived_id(world.deployment.id, f"force {number}")
    return e.RollbackCommand(id=identity, time=world.now, source="test", model=MODEL, who="ada", why="harm")


def on_trial() -> World:
    world = World()
    world.spacing = 0.001
    world.register()
    world.train(GOOD)
    world.sessions(20, better)
    return world


def same_again(world: World) -> bool:
    """What a replay of the whole log says."""
    fold = DeploymentFold(world.policy, "replay")
    report = replay(world.bus, Plan("validator", (fold,), DECIDED, None, forced(world.bus)))
    assert report["differences"] == []
    return bool(report["decisions"][e.DeploymentChanged.TYPE] == len(world.changes))


def test_evidence_that_waited_for_a_dead_validator_comes_after_the_rollback_there_and_in_a_replay() -> None:
    world = on_trial()
    world.stuck = True
    world.sessions(200, better)  # enough for a promotion, had anybody been there
    asked = command(world)
    published = force(world.bus, SETTINGS, asked)
    assert [type(event) for event in published] == [e.RollbackCommand, e.DeploymentChanged, e.StageChanged]
    assert world.deployment.change == "rolled-back"
    assert world.deployment.cause == asked.id
    assert world.stage(GOOD) == "rejected"
    world.stuck = False
    world.start()
    world.pump()
    world.train(HARMFUL, 2)
    assert world.changes == ["registered", "canary", "rolled-back", "canary"]
    assert all(b.revision == a.revision + 1 for a, b in pairwise(world.events(e.DeploymentChanged)))
    assert same_again(world)


def test_a_validator_that_was_only_stuck_is_fenced() -> None:
    world = on_trial()
    world.stuck = True
    force(world.bus, SETTINGS, command(world))
    world.stuck = False
    with pytest.raises(FencedError):
        world.sessions(1, better)
    world.start()
    world.pump()
    assert world.changes == ["registered", "canary", "rolled-back"]
    assert world.events(e.DeadLetter) == []
    assert same_again(world)


def test_forced_twice_and_then_asked_for_again() -> None:
    world = World()
    world.spacing = 0.001
    world.register()
    for number, adapter in ((1, GOOD), (2, HARMFUL)):
        world.train(adapter, number)
        world.command(e.PromoteCommand, version=adapter)
    world.stuck = True
    force(world.bus, SETTINGS, command(world, 1))
    force(world.bus, SETTINGS, command(world, 2))
    assert world.deployment.champion.version == BASE
    with pytest.raises(RefusedError, match="no earlier champion"):
        force(world.bus, SETTINGS, command(world, 3))
    world.stuck = False
    world.start()
    world.pump()
    world.command(e.RollbackCommand)
    (letter,) = world.events(e.DeadLetter)
    assert "no earlier champion" in letter.reason
    assert same_again(world)


def test_what_was_asked_for_in_vain_before_is_not_carried_out_on_top() -> None:
    """Nobody answered `pawl rollback`, so it was forced: the validator must not roll back once more when it is back."""
    world = World()
    world.spacing = 0.001
    world.register()
    for number, adapter in ((1, GOOD), (2, HARMFUL)):
        world.train(adapter, number)
        world.command(e.PromoteCommand, version=adapter)
    world.stuck = True
    world.command(e.RollbackCommand)
    world.command(e.PauseCommand)
    world.command(e.PromoteCommand, version=GOOD)
    force(world.bus, SETTINGS, command(world))
    world.stuck = False
    world.start()
    world.pump()
    assert (world.deployment.champion.version, world.changes[-2:]) == (GOOD, ["rolled-back", "paused"])
    assert ["was forced" in letter.reason for letter in world.events(e.DeadLetter)] == [True, True]
    world.command(e.RollbackCommand)
    assert world.deployment.champion.version == BASE
    assert same_again(world)


def test_nothing_is_known_of_the_model() -> None:
    world = World()
    asked = e.RollbackCommand(id=NAMESPACE_OID, time=world.now, source="test", model=MODEL, who="ada")
    with pytest.raises(RefusedError, match="nothing is deployed"):
        force(world.bus, SETTINGS, asked)


def test_what_is_refused_fences_nobody() -> None:
    """A mistyped model, a version that does not serve, no way back: a healthy validator goes on."""
    world = World()
    world.spacing = 0.001
    world.register()
    for update, reason in (
        ({"model": "default/asistant"}, f"Pawl serves {MODEL}"),
        ({"version": GOOD}, "does not serve any more"),
        ({}, "no earlier champion"),
    ):
        with pytest.raises(RefusedError, match=reason):
            force(world.bus, SETTINGS, command(world).model_copy(update=update))
    world.train(GOOD)
    world.sessions(20, better)
    assert world.changes == ["registered", "canary"]


def test_nobody_is_fenced_where_every_earlier_champion_was_rejected() -> None:
    world = World()
    world.spacing = 0.001
    world.register()
    world.train(GOOD)
    world.command(e.PromoteCommand, version=GOOD)
    world.command(e.RollbackCommand)
    with pytest.raises(RefusedError, match="no earlier champion"):
        force(world.bus, SETTINGS, command(world))
    world.train(HARMFUL, 2)
    assert world.changes == ["registered", "canary", "promoted", "rolled-back", "canary"]


def test_a_forced_rollback_repeated_takes_nothing_else_away() -> None:
    world = on_trial()
    world.stuck = True
    first, again = (command(world, number).model_copy(update={"version": GOOD}) for number in (1, 2))
    force(world.bus, SETTINGS, first)
    with pytest.raises(RefusedError, match="does not serve any more"):
        force(world.bus, SETTINGS, again)
    world.stuck = False
    world.start()
    world.pump()
    assert world.changes == ["registered", "canary", "rolled-back"]
    assert same_again(world)
