"""A person's approval before a canary and before a promotion; and what the queue does when another champion serves."""

from support.validator import BASE, GOOD, HARMFUL, MODEL, REPORT, World, version

from pawl_shared import events as e
from pawl_shared.policies.model_policy import ModelPolicy


def world_of(approval: str, restart_every: int = 0) -> World:
    world = World(restart_every=restart_every)
    world.register()
    configure(world, approval)
    return world


def configure(world: World, approval: str) -> None:
    policy = ModelPolicy.model_validate({"model": MODEL, "canary": {"approval": approval, "share": 0.5}})
    world.command(e.ConfigureModelCommand, policy=policy, digest=policy.digest)


def approvals(world: World) -> list[tuple[str, str, str]]:
    return [(event.step, event.state, event.who) for event in world.events(e.ApprovalChanged)]


def better(which: str) -> float:
    return 0.9 if which == GOOD else 0.2


def test_a_canary_begins_once_a_person_has_approved_it_and_the_log_says_who() -> None:
    world = world_of("canary")
    run = world.train(GOOD)
    world.tick(hours=1)
    assert (world.changes, world.stage(GOOD)) == (["registered"], "validated")
    (asked,) = world.events(e.ApprovalChanged)
    assert (asked.version, asked.step, asked.state, asked.run, asked.report) == (
        GOOD,
        "canary",
        "requested",
        run,
        REPORT,
    )
    world.command(e.ApproveCommand, version=GOOD)
    assert world.deployment.change == "canary"
    assert "approved by op: a test" in world.deployment.reasons
    (moved,) = [event for event in world.events(e.StageChanged) if event.stage == "canary"]
    assert (moved.who, "approved by op: a test" in moved.reasons) == ("op", True)
    assert approvals(world) == [("canary", "requested", "pawl"), ("canary", "approved", "op")]
    world.sessions(60, better)
    assert "promoted" in world.changes, "its promotion needs nobody"


def test_one_that_waits_holds_up_nobody_else() -> None:
    world = world_of("canary")
    world.train(GOOD, 1)
    world.train(version(8), 2)
    world.command(e.ApproveCommand, version=version(8))
    assert world.deployment.challenger is not None
    assert world.deployment.challenger.version == version(8)
    assert world.stage(GOOD) == "validated"


def test_a_promotion_that_was_earned_waits_for_a_person_and_nothing_is_counted_twice() -> None:
    world, shaken = world_of("promotion"), world_of("promotion", restart_every=3)
    for each in (world, shaken):
        each.train(GOOD)
        each.sessions(80, better)
        assert each.changes == ["registered", "canary"]
        each.tick(hours=30)
        assert each.changes == ["registered", "canary"], "its limit of time is over, but it was decided before"
        each.command(e.ApproveCommand, version=GOOD)
        assert each.changes == ["registered", "canary", "promoted"]
        assert approvals(each) == [("promotion", "requested", "pawl"), ("promotion", "approved", "op")]
    for cls in (e.DeploymentChanged, e.StageChanged, e.ApprovalChanged, e.CanaryObserved):
        assert shaken.events(cls) == world.events(cls)
    assert (world.deployment.who, world.deployment.champion.version) == ("op", GOOD)
    assert world.deployment.numbers["evidence_better"] >= world.deployment.numbers["threshold_better"]
    assert any(reason.startswith("better") for reason in world.deployment.reasons)


def test_harm_ends_a_canary_that_waits_for_its_promotion() -> None:
    world = world_of("promotion")
    world.train(GOOD)
    world.sessions(60, better)
    assert approvals(world) == [("promotion", "requested", "pawl")]
    world.sessions(900, lambda which: 0.0 if which == GOOD else 1.0)
    assert world.changes[-1] == "rolled-back"
    assert world.stage(GOOD) == "rejected"
    assert approvals(world)[-1] == ("promotion", "withdrawn", "pawl")


def test_a_person_rejects_a_waiting_candidate_and_a_challenger() -> None:
    world = world_of("both")
    world.train(GOOD, 1)
    world.command(e.ApproveCommand, version=GOOD, verdict="reject")
    assert (world.stage(GOOD), world.changes) == ("rejected", ["registered"])
    (refused,) = world.events(e.CandidateRejected)
    assert refused.reasons == ("rejected by op: a test",)
    world.train(HARMFUL, 2)
    world.command(e.ApproveCommand, version=HARMFUL)
    world.command(e.ApproveCommand, version=HARMFUL, verdict="reject")
    assert (world.stage(HARMFUL), world.changes[-1]) == ("rejected", "rolled-back")
    assert world.deployment.who == "op"


def test_what_nobody_asked_is_refused_with_the_reason() -> None:
    world = world_of("none")
    world.train(GOOD)
    world.command(e.ApproveCommand, version=GOOD)
    world.command(e.ApproveCommand, version=BASE)
    world.command(e.ApproveCommand, version=version(7), verdict="reject")
    reasons = [letter.reason for letter in world.events(e.DeadLetter)]
    assert "the evidence has not decided yet" in reasons[0]
    assert "it is the champion already" in reasons[1]
    assert "nothing to reject" in reasons[2]
    assert world.changes == ["registered", "canary"]


def test_a_policy_that_asks_for_no_approval_any_more_lets_both_steps_go_on() -> None:
    world = world_of("both")
    world.train(GOOD)
    configure(world, "promotion")
    world.tick(hours=1)
    assert world.changes == ["registered", "canary"]
    world.sessions(60, better)
    assert approvals(world)[-1] == ("promotion", "requested", "pawl")
    configure(world, "none")
    assert approvals(world)[-1] == ("promotion", "withdrawn", "pawl")
    world.tick(hours=1)
    assert world.changes[-1] == "promoted"
    assert world.deployment.who == "pawl"


def test_a_promotion_by_hand_is_an_approval() -> None:
    world = world_of("both")
    world.train(GOOD)
    world.command(e.PromoteCommand, version=GOOD)
    assert world.deployment.champion.version == GOOD
    assert approvals(world)[-1] == ("canary", "approved", "op")


# ------------------------------------------------------------ the queue


def test_what_waits_is_measured_beside_the_new_champion_before_anybody_meets_it() -> None:
    world = world_of("none")
    world.train(GOOD, 1)
    world.train(version(8), 2)
    while "promoted" not in world.changes:
        world.sessions(1, better)
    assert world.changes == ["registered", "canary", "promoted", "canary"]
    assert [(order.trained.adapter, order.champion.version) for order in world.orders] == [
        (GOOD, BASE), (version(8), BASE), (version(8), GOOD),
    ]  # fmt: skip
    assert [event.stage for event in world.events(e.StageChanged) if event.version == version(8)] == [
        "candidate", "validated", "candidate", "validated", "canary",
    ]  # fmt: skip


def test_a_candidate_that_fails_beside_the_new_champion_is_rejected() -> None:
    world = world_of("none")
    world.train(GOOD, 1)
    world.train(version(8), 2)
    world.unsound.add(version(8))
    world.command(e.PromoteCommand, version=GOOD)
    assert world.changes == ["registered", "canary", "promoted"]
    assert world.stage(version(8)) == "rejected"


def test_a_verdict_that_comes_after_another_promotion_is_asked_for_again() -> None:
    world = world_of("none")
    world.train(GOOD, 1)
    world.held = True
    world.train(version(8), 2)
    world.command(e.PromoteCommand, version=GOOD)
    world.held = False
    world.tick(hours=1)
    assert [order.champion.version for order in world.orders if order.trained.adapter == version(8)] == [BASE, GOOD]
    assert world.deployment.challenger is not None
    assert world.deployment.challenger.version == version(8)


def test_two_that_passed_while_the_model_was_paused_go_on_in_their_order() -> None:
    world = world_of("none")
    world.command(e.PauseCommand)
    world.train(GOOD, 1)
    world.train(version(8), 2)
    world.command(e.PauseCommand, paused=False)
    assert world.deployment.challenger is not None
    assert world.deployment.challenger.version == GOOD
    world.command(e.PromoteCommand, version=version(8))
    assert world.stage(GOOD) == "retired"
    assert world.deployment.champion.version == version(8)


def test_an_adapter_of_another_base_is_refused_before_its_gates_and_during_them() -> None:
    world = world_of("none")
    world.held = True
    world.train(GOOD, 1)
    world.register(base=version(9))
    world.held = False
    world.tick(hours=1)
    world.train(version(8), 2)
    assert world.changes == ["registered", "registered"]
    assert world.stage(GOOD) == "retired"
    assert [len(world.orders), len(world.events(e.CandidateRejected))] == [1, 2]
    assert all("trained for base" in event.reasons[0] for event in world.events(e.CandidateRejected))
