"""From a trained adapter to a promotion or a rollback, through the real runner, codec and Kafka store in memory."""

from itertools import pairwise

import pytest
from support.validator import BASE, GOOD, GRAPH, HARMFUL, MODEL, SLOTS, UNSOUND, World, version

from pawl_shared import events as e
from pawl_shared.ids import derived_id
from pawl_shared.policies.model_policy import ModelPolicy


def registered(**options: object) -> World:
    world = World(**options)  # type: ignore[arg-type]
    world.register()
    return world


def better(which: str) -> float:
    return 0.75 if which == GOOD else 0.21


def test_a_base_is_registered_once() -> None:
    world = registered()
    world.register()
    assert world.deployment.revision == 1
    assert world.deployment.champion == e.DeployedVersion(version=BASE, base=BASE, graph=GRAPH)
    assert world.stage(BASE) == "champion"


def test_a_better_candidate_is_promoted_by_the_evidence() -> None:
    world = registered()
    run = world.train(GOOD)
    trial = world.deployment
    assert (trial.change, trial.share) == ("canary", 0.5)
    assert trial.challenger == e.DeployedVersion(version=GOOD, base=BASE, graph=GRAPH, slot_file=SLOTS, run=run)
    world.sessions(200, better)
    promoted = world.events(e.DeploymentChanged)[2]
    assert promoted.change == "promoted"
    assert promoted.champion.version == GOOD
    assert promoted.challenger is None
    assert promoted.canary is None
    assert promoted.numbers["evidence_better"] >= promoted.numbers["threshold_better"] == 100
    assert promoted.numbers["challenger_approval"] > promoted.numbers["champion_approval"]
    assert "better" in promoted.reasons[0]
    assert [event.stage for event in world.events(e.StageChanged) if event.version == GOOD] == [
        "candidate", "validated", "canary", "champion",
    ]  # fmt: skip
    assert world.stage(BASE) == "retired"


def test_where_the_canary_stands_is_told_with_intervals() -> None:
    world = registered()
    world.train(GOOD)
    world.sessions(12, better)
    told = world.events(e.CanaryObserved)
    assert told
    assert told[-1].version == GOOD
    assert told[-1].challenger.low <= told[-1].challenger.point <= told[-1].challenger.high


def test_a_harmful_challenger_is_rolled_back() -> None:
    world = registered()
    world.train(HARMFUL)
    world.sessions(300, lambda which: 0.3 if which == HARMFUL else 0.8)
    assert world.changes[2] == "rolled-back"
    assert world.deployment.champion.version == BASE
    assert world.stage(HARMFUL) == "rejected"


def test_an_undecided_canary_ends_by_time_alone() -> None:
    world = registered()
    world.train(GOOD)
    world.sessions(2, lambda _: 0.5)
    world.tick(hours=23)
    assert world.changes == ["registered", "canary"]
    world.tick(hours=2)
    assert world.changes[-1] == "rolled-back"
    assert "undecided" in world.deployment.reasons[0]
    assert world.stage(GOOD) == "retired"


def test_a_canary_that_no_session_reaches_ends_and_the_next_one_begins() -> None:
    world = registered()
    world.train(GOOD, 1)
    world.train(version(8), 2)
    world.tick(hours=23)
    assert world.changes == ["registered", "canary"]
    world.tick(hours=2)
    assert world.changes == ["registered", "canary", "rolled-back", "canary"]
    assert world.stage(GOOD) == "retired"
    assert world.deployment.challenger is not None
    assert world.deployment.challenger.version == version(8)


@pytest.mark.parametrize("copies", [1, 3])
def test_a_restart_in_the_middle_neither_loses_nor_doubles_evidence(copies: int) -> None:
    """A validator that dies before every third commit, with evidence published up to three times, decides the same."""
    steady, shaken = registered(), registered(restart_every=3)
    steady.train(GOOD)
    shaken.train(GOOD)
    steady.sessions(120, better)
    shaken.sessions(120, better, copies=copies)
    for cls in (e.DeploymentChanged, e.StageChanged, e.CanaryObserved):
        assert shaken.events(cls) == steady.events(cls)
    assert "promoted" in steady.changes


def test_an_unsound_candidate_never_serves() -> None:
    world = registered()
    world.train(UNSOUND)
    assert world.changes == ["registered"]
    assert world.stage(UNSOUND) == "rejected"


def test_one_canary_at_a_time_the_others_wait() -> None:
    world = registered()
    world.train(HARMFUL, 1)
    world.train(GOOD, 2)
    assert world.deployment.challenger is not None
    assert world.deployment.challenger.version == HARMFUL
    world.sessions(600, lambda which: {HARMFUL: 0.1, GOOD: 0.95}.get(which, 0.6))
    assert world.changes == ["registered", "canary", "rolled-back", "canary", "promoted"]
    assert [event.revision for event in world.events(e.DeploymentChanged)] == [1, 2, 3, 4, 5]
    assert world.deployment.champion.version == GOOD


def test_sessions_of_another_canary_and_pinned_ones_are_no_evidence() -> None:
    world = registered()
    world.train(GOOD)
    world.sessions(4, better)
    seen = len(world.events(e.CanaryObserved))
    known = world.events(e.SessionObserved)
    for index, update in enumerate(({"canary": None}, {"arm": "pinned"}, {"canary": known[0].id})):
        for event in known:
            world.publish(event.model_copy(update={**update, "id": derived_id(event.id, f"copy {index}")}))
    assert len(world.events(e.CanaryObserved)) == seen


def test_a_person_promotes_and_rolls_back() -> None:
    world = registered()
    world.train(GOOD)
    world.command(e.PromoteCommand, version=GOOD)
    assert world.deployment.champion.version == GOOD
    assert world.deployment.who == "op"
    world.command(e.RollbackCommand)
    assert world.changes[-1] == "rolled-back"
    assert world.deployment.champion.version == BASE
    assert world.stage(GOOD) == "rejected"


def test_a_base_that_was_rolled_back_may_serve_again() -> None:
    world = registered()
    world.train(GOOD)
    world.command(e.PromoteCommand, version=GOOD)
    world.command(e.PromoteCommand, version=BASE)
    world.command(e.RollbackCommand)
    assert (world.deployment.champion.version, world.stage(BASE)) == (GOOD, "retired")
    world.command(e.RollbackCommand)
    assert (world.deployment.champion.version, world.stage(BASE)) == (BASE, "champion")
    assert world.stage(GOOD) == "rejected"
    world.register(base=version(9))
    world.command(e.RollbackCommand)
    world.command(e.PromoteCommand, version=version(9))
    assert world.deployment.champion.version == version(9)
    assert world.events(e.DeadLetter) == []


def test_a_rollback_that_is_repeated_rejects_no_healthy_champion() -> None:
    """Nobody answered for a while, so that it was asked for twice; both are handled then."""
    world = registered()
    world.train(GOOD)
    world.command(e.PromoteCommand, version=GOOD)
    world.train(HARMFUL, 2)
    for _ in range(2):
        world.command(e.RollbackCommand, version=HARMFUL)
    assert world.changes == ["registered", "canary", "promoted", "canary", "rolled-back"]
    assert (world.stage(GOOD), world.stage(HARMFUL)) == ("champion", "rejected")
    (letter,) = world.events(e.DeadLetter)
    assert f"{GOOD[:12]} is champion" in letter.reason


def test_a_command_that_cannot_be_followed_ends_in_the_dead_letters_with_its_reason() -> None:
    world = registered()
    world.command(e.RollbackCommand)
    world.command(e.PromoteCommand, version=version(7))
    reasons = [letter.reason for letter in world.events(e.DeadLetter)]
    assert "no earlier champion" in reasons[0]
    assert "has no version 000000000000" in reasons[1]
    world.train(UNSOUND)
    for command in (e.PromoteCommand, e.PinCommand):
        world.command(command, version=UNSOUND)
        assert "was rejected" in world.events(e.DeadLetter)[-1].reason
    assert world.changes == ["registered"]


def test_a_pinned_model_keeps_its_candidates_waiting_until_it_is_unpinned() -> None:
    world = registered()
    world.command(e.PinCommand, version=BASE)
    world.train(GOOD)
    world.tick(hours=1)
    assert world.changes == ["registered", "pinned"]
    assert world.deployment.pinned == BASE
    world.command(e.PinCommand)
    assert world.changes == ["registered", "pinned", "unpinned", "canary"]
    assert world.deployment.pinned is None


def test_a_forced_rollback_begins_no_canary_and_the_next_tick_does() -> None:
    world = registered()
    world.train(GOOD, 1)
    world.train(HARMFUL, 2)
    world.command(e.RollbackCommand, forced={})
    assert world.changes == ["registered", "canary", "rolled-back"]
    world.tick(hours=1)
    assert world.changes == ["registered", "canary", "rolled-back", "canary"]


def test_a_promotion_earned_while_the_loop_was_paused_follows_once_with_its_evidence() -> None:
    def history(**options: object) -> World:
        world = registered(**options)
        world.train(GOOD)
        world.command(e.PauseCommand)
        world.sessions(200, better)
        world.sessions(60, lambda which: 0.5)  # what was earned stays so, whatever is seen later short of harm
        world.tick(hours=30)
        assert world.changes == ["registered", "canary", "paused"], "nor does its limit of time end it"
        world.command(e.ApproveCommand, version=GOOD)
        assert "pawl resume" in world.events(e.DeadLetter)[0].reason
        world.command(e.PauseCommand, paused=False)
        assert world.changes[-2:] == ["resumed", "promoted"], "at once"
        world.sessions(20, better)
        world.tick(0.01)
        return world

    world, shaken = history(), history(restart_every=3)
    assert world.changes == ["registered", "canary", "paused", "resumed", "promoted"]
    promoted = world.deployment
    assert (promoted.champion.version, promoted.challenger, promoted.who) == (GOOD, None, "pawl")
    assert promoted.reasons[0].startswith("better: evidence")
    assert promoted.numbers["evidence_better"] >= promoted.numbers["threshold_better"] == 100
    assert world.stage(GOOD) == "champion"
    for cls in (e.DeploymentChanged, e.StageChanged, e.CanaryObserved):
        assert shaken.events(cls) == world.events(cls)


def test_harm_ends_a_trial_of_a_paused_model_that_had_earned_its_promotion() -> None:
    world = registered()
    world.train(GOOD)
    world.command(e.PauseCommand)
    world.sessions(200, better)
    world.sessions(900, lambda which: 0.0 if which == GOOD else 1.0)
    assert world.changes[-1] == "rolled-back"
    world.command(e.PauseCommand, paused=False)
    world.tick(0.01)
    assert (world.changes[-2:], world.stage(GOOD)) == (["rolled-back", "resumed"], "rejected")


def test_what_was_earned_in_a_pause_still_waits_for_a_person_where_the_policy_says_so_meanwhile() -> None:
    world = registered()
    world.train(GOOD)
    world.command(e.PauseCommand)
    world.sessions(200, better)
    policy = ModelPolicy.model_validate({"model": MODEL, "canary": {"approval": "promotion"}})
    world.command(e.ConfigureModelCommand, policy=policy, digest=policy.digest)
    world.command(e.PauseCommand, paused=False)
    world.tick(0.01)
    assert world.changes == ["registered", "canary", "paused", "resumed"]
    assert [(event.step, event.state) for event in world.events(e.ApprovalChanged)] == [("promotion", "requested")]
    world.command(e.ApproveCommand, version=GOOD)
    assert (world.changes[-1], world.deployment.who) == ("promoted", "op")


def test_a_paused_model_keeps_its_candidates_waiting() -> None:
    world = registered()
    world.command(e.PauseCommand)
    world.train(GOOD)
    assert world.changes == ["registered", "paused"]
    assert world.stage(GOOD) == "validated"
    world.command(e.PauseCommand, paused=False)
    assert world.changes[-2:] == ["resumed", "canary"]


def test_the_same_weights_are_not_tried_twice() -> None:
    world = registered()
    world.train(UNSOUND, 1)
    world.train(UNSOUND, 2)
    assert len(world.events(e.CandidateRejected)) == 2
    assert "already is rejected" in world.events(e.CandidateRejected)[-1].reasons[0]


def test_an_adapter_for_an_unknown_model_is_rejected_with_advice() -> None:
    world = World()
    world.train(GOOD)
    assert "no base is registered" in world.events(e.CandidateRejected)[0].reasons[0]


def test_another_base_takes_over_and_drops_the_adapters_of_the_old_one() -> None:
    world = registered()
    world.train(GOOD, 1)
    world.train(HARMFUL, 2)
    world.register(base=version(9))
    assert world.deployment.champion.version == version(9)
    assert world.deployment.challenger is None
    assert {world.stage(GOOD), world.stage(HARMFUL), world.stage(BASE)} == {"retired"}


def test_revisions_only_grow_and_carry_their_cause() -> None:
    world = registered()
    world.train(GOOD)
    world.sessions(200, better)
    events = world.events(e.DeploymentChanged)
    assert all(after.revision == before.revision + 1 for before, after in pairwise(events))
    assert all(event.cause is not None and event.model == MODEL for event in events)


def configure(world: World, **canary: object) -> str:
    policy = ModelPolicy.model_validate({"model": MODEL, "canary": canary})
    world.command(e.ConfigureModelCommand, policy=policy, digest=policy.digest)
    return policy.digest


def test_a_canary_is_tried_by_the_policy_under_which_it_began() -> None:
    world = registered(restart_every=3)
    assert world.deployment.policy is None
    first = configure(world, share=0.5, limit_sessions=40)
    world.train(GOOD)
    assert (world.deployment.share, world.deployment.policy) == (0.5, first)
    second = configure(world, share=0.2, limit_sessions=100_000)
    world.sessions(80, lambda _: 0.5)
    ended = world.deployment
    assert (ended.change, ended.policy) == ("rolled-back", first), "its limit of 40 sessions holds to its end"
    world.train(version(8), 2)
    assert (world.deployment.share, world.deployment.policy) == (0.2, second)


def test_gates_are_those_of_the_policy_at_the_time_of_the_training() -> None:
    world = registered()
    policy = ModelPolicy.model_validate({"model": MODEL, "gates": {"max_perplexity_rise": 0.5}})
    world.command(e.ConfigureModelCommand, policy=policy, digest=policy.digest)
    world.train(GOOD)
    (order,) = world.orders
    assert (order.gates, order.policy) == (policy.gates, policy.digest)
