"""Who serves: what people may ask for in any order, pins, and the way back."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import BASE, GRAPH, MODEL, SLOTS

from pawl_shared.events import DeployedVersion
from pawl_validator.domain import registry
from pawl_validator.domain.approval import Rule, approve, awaited, needs, reject
from pawl_validator.domain.canary import Arm, Decision
from pawl_validator.domain.deployment import (
    Change,
    Deployment,
    RefusedError,
    Waiting,
    pause,
    pin,
    promote,
    register,
    rollback,
)
from pawl_validator.domain.queue import enqueue, next_up, start
from pawl_validator.domain.verdict import conclude, earn

CANARY = UUID(int=7)


def adapter(number: int) -> DeployedVersion:
    return DeployedVersion(version=f"{number:064x}", base=BASE, graph=GRAPH, slot_file=SLOTS)


def begun(*waiting: DeployedVersion) -> Deployment:
    first = register(MODEL, None, DeployedVersion(version=BASE, base=BASE, graph=GRAPH), "op")
    assert first is not None
    now = first.deployment
    for served in waiting:
        now = enqueue(now, Waiting(served=served, run=UUID(int=int(served.version, 16))))
    return now


def on_trial(*waiting: DeployedVersion) -> Deployment:
    change = start_next(begun(*waiting))
    assert change is not None
    return change.deployment


def start_next(now: Deployment, approval: bool = False) -> Change | None:
    waiting = next_up(now, approval)
    return waiting and start(now, waiting, CANARY, 0.1)


ONE, TWO, THREE = adapter(1), adapter(2), adapter(3)


def test_a_pin_ends_the_canary_and_keeps_the_next_one_waiting() -> None:
    now = on_trial(ONE, TWO)
    pinned = pin(now, BASE, "ada", "fair")
    assert (pinned.kind, pinned.deployment.pinned, pinned.deployment.challenger) == ("pinned", BASE, None)
    assert pinned.stages == ((ONE.version, "retired"),)
    assert pinned.reasons == ("pinned by ada: fair",)
    assert start_next(pinned.deployment) is None
    free = pin(pinned.deployment, None, "ada", "")
    assert (free.kind, free.deployment.pinned) == ("unpinned", None)
    begun_again = start_next(free.deployment)
    assert begun_again is not None
    assert begun_again.deployment.challenger == TWO


def test_a_pin_to_another_version_makes_it_champion_in_the_same_revision() -> None:
    now = on_trial(ONE, TWO)
    change = pin(now, TWO.version, "ada", "")
    assert change.deployment.revision == now.revision + 1
    assert (change.deployment.champion, change.deployment.pinned) == (TWO, TWO.version)
    assert change.deployment.queue == ()
    assert dict(change.stages) == {BASE: "retired", TWO.version: "champion", ONE.version: "retired"}


def test_under_a_pin_nothing_else_is_promoted_but_the_way_back_is_open() -> None:
    now = pin(on_trial(ONE, TWO), TWO.version, "ada", "").deployment
    with pytest.raises(RefusedError, match="pawl unpin"):
        promote(now, ONE.version, "ada", "")
    with pytest.raises(RefusedError, match="already"):
        pin(now, TWO.version, "ada", "")
    back = rollback(now, "ada", "harm").deployment
    assert (back.champion.version, back.pinned) == (BASE, BASE)
    with pytest.raises(RefusedError, match="not pinned"):
        pin(begun(), None, "ada", "")


def test_another_base_lifts_the_pin() -> None:
    other = DeployedVersion(version=GRAPH, base=GRAPH, graph=BASE)
    change = register(MODEL, pin(begun(ONE), BASE, "ada", "").deployment, other, "op")
    assert change is not None
    assert change.deployment.pinned is None


def test_a_candidate_that_was_taken_away_unharmed_may_be_promoted_later() -> None:
    now = pin(pin(on_trial(ONE), BASE, "ada", "").deployment, None, "ada", "").deployment
    assert now.withdrawn == (ONE,)
    change = promote(now, ONE.version, "ada", "")
    assert (change.deployment.champion, change.deployment.withdrawn) == (ONE, ())
    with pytest.raises(RefusedError, match="none of the last 20 champions"):
        promote(now, THREE.version, "ada", "")


def test_what_was_champion_twice_is_no_target_once_it_is_rejected() -> None:
    now = begun(ONE, TWO)
    for version in (ONE, TWO, ONE):
        now = promote(now, version.version, "ada", "").deployment
    now = rollback(now, "ada", "").deployment
    assert now.champion == TWO
    now = rollback(now, "ada", "").deployment
    assert now.champion.version == BASE
    with pytest.raises(RefusedError, match="no earlier champion"):
        rollback(now, "ada", "")


def test_the_way_back_never_leads_to_what_serves() -> None:
    now = begun(ONE, TWO)
    for version in (ONE, TWO, ONE, TWO):
        now = promote(now, version.version, "ada", "").deployment
    now = rollback(now, "ada", "").deployment
    assert (now.champion, now.history[-1].version) == (ONE, BASE)


def test_a_base_is_never_rejected_and_the_way_back_is_no_circle() -> None:
    now = promote(promote(begun(ONE), ONE.version, "ada", "").deployment, BASE, "ada", "").deployment
    change = rollback(now, "ada", "")
    assert dict(change.stages) == {BASE: "retired", ONE.version: "champion"}
    assert promote(change.deployment, BASE, "ada", "").deployment.champion.version == BASE
    change = rollback(change.deployment, "ada", "")
    assert dict(change.stages) == {ONE.version: "rejected", BASE: "champion"}
    other = DeployedVersion(version=GRAPH, base=GRAPH, graph=BASE)
    replaced = register(MODEL, change.deployment, other, "op")
    assert replaced is not None
    now = rollback(replaced.deployment, "ada", "").deployment
    assert (now.champion.version, now.history) == (BASE, ())
    assert promote(now, GRAPH, "ada", "").deployment.champion == other


def test_a_rollback_asked_for_twice_takes_one_version_away() -> None:
    now = promote(begun(ONE, TWO), ONE.version, "ada", "").deployment
    change = start_next(now)
    assert change is not None
    now = rollback(change.deployment, "ada", "harm", TWO.version).deployment
    with pytest.raises(RefusedError, match=f"does not serve any more: {ONE.version[:12]} is champion. Nothing was"):
        rollback(now, "ada", "harm", TWO.version)
    assert rollback(now, "ada", "harm", ONE.version).deployment.champion.version == BASE


def test_a_rollback_of_a_version_whose_trial_ended_meanwhile() -> None:
    now = on_trial(ONE, TWO)
    promoted = conclude(now, decision("won"))
    assert promoted is not None
    assert rollback(promoted.deployment, "ada", "", ONE.version).deployment.champion.version == BASE
    harmed = conclude(now, decision("harmed"))
    assert harmed is not None
    second = start_next(harmed.deployment)
    assert second is not None
    with pytest.raises(RefusedError, match=f"and {TWO.version[:12]} is on trial"):
        rollback(second.deployment, "ada", "", ONE.version)
    with pytest.raises(RefusedError, match="takes the trial away first"):
        rollback(second.deployment, "ada", "", BASE)


NUMBERS = [0, *range(1, 5)]
COMMAND = st.one_of(
    st.tuples(st.just("promote"), st.sampled_from(NUMBERS)),
    st.tuples(st.just("pin"), st.sampled_from([None, *NUMBERS])),
    st.tuples(st.sampled_from(["approve", "reject"]), st.sampled_from(NUMBERS)),
    st.tuples(
        st.sampled_from(["rollback", "pause", "resume", "next", "train", "undecided", "won", "harmed"]), st.just(0)
    ),
)
RULES: list[Rule] = ["none", "canary", "promotion", "both"]


@given(st.lists(COMMAND, max_size=30), st.sampled_from(RULES))
def test_whatever_is_asked_for_in_whichever_order_revisions_are_contiguous_and_stages_agree(
    asked: list[tuple[str, int | None]], rule: Rule
) -> None:
    now, trained = begun(), 0
    stages: registry.Stages = {BASE: "champion"}
    for what, number in asked:
        if what == "train" and trained < max(NUMBERS):
            trained += 1
            served = adapter(trained)
            stages = {**stages, served.version: "validated"}
            now = enqueue(now, Waiting(served=served, run=UUID(int=trained)))
            continue
        version = None if number is None else BASE if number == 0 else adapter(number).version
        if what in ("promote", "pin") and version is not None and stages.get(version) in (None, "rejected"):
            continue  # the fold refuses these by the registry
        before = now
        try:
            change = asked_for(now, rule, what, version)
        except RefusedError:
            continue
        if isinstance(change, Deployment):
            if what == "reject":
                stages, _ = registry.move(stages, str(version), "rejected")
            now = change
            continue
        if change is None:
            now = earn(now, decision(what)) if needs(rule, "promotion") or now.paused else now
            continue
        if change.kind == "canary":
            assert change.deployment.challenger is not None
            assert (change.deployment.challenger.version, "canary") not in awaited(before, rule)
        if change.kind == "promoted" and needs(rule, "promotion"):
            assert what in ("approve", "promote")
        if change.kind == "promoted" and now.paused:
            assert what in ("approve", "promote"), "of a paused model, only a person promotes"
        assert change.deployment.revision == now.revision + 1
        now = change.deployment
        for moved, stage in change.stages:
            stages, _ = registry.move(stages, moved, stage)
        assert stages[now.champion.version] == "champion"
        assert list(stages.values()).count("champion") == 1
        assert now.pinned in (None, now.champion.version)
        assert now.challenger is None or (now.pinned is None and stages[now.challenger.version] == "canary")


def decision(what: str) -> Decision:
    action = {"won": "promote", "undecided": "timeout", "harmed": "rollback"}.get(what, "continue")
    return Decision(action, what, 1, 1, 100, 20, Arm(), Arm(), 0, 0.1)  # type: ignore[arg-type]


def asked_for(now: Deployment, rule: Rule, what: str, version: str | None) -> Change | Deployment | None:
    match what:
        case "approve":
            return approve(now, rule, str(version), "ada", "")
        case "reject":
            return reject(now, str(version), "ada", "")
        case "promote":
            return promote(now, str(version), "ada", "")
        case "pin":
            return pin(now, version, "ada", "")
        case "rollback":
            return rollback(now, "ada", "")
        case "pause" | "resume":
            return pause(now, what == "pause", "ada", "")
        case "next":
            return start_next(now, needs(rule, "canary"))
        case _:
            return conclude(now, decision(what), needs(rule, "promotion"))
