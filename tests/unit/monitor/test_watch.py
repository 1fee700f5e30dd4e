"""One model's watch: which sessions speak for the champion, what an alarm opens and what ends it."""

import random
from datetime import timedelta
from uuid import UUID, uuid5

import pytest
from support.monitor import BASE, GRAPH, MODEL, START

from pawl_monitor.domain.approval import ApprovalPolicy
from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.domain.watched import Watched
from pawl_shared import events as e
from pawl_shared.policies.model_policy import ModelPolicy

POLICY = WatchPolicy(ApprovalPolicy(n0=60))
NEW, OTHER, RUN = "c" * 64, "d" * 64, UUID(int=3)


def session(number: int, reward: float | None, **changes: object) -> e.SessionObserved:
    time = START + timedelta(seconds=number)
    observed = e.SessionObserved(
        id=uuid5(UUID(int=1), str(number)), time=time, source="test", model=MODEL, session=f"s{number}", arm="champion",
        version=BASE, revision=1, reward=reward, answers=1, rated=int(reward is not None), started=time, ended=time,
    )  # fmt: skip
    return observed.model_copy(update=changes)


def deployment(revision: int, version: str, change: str, challenger: str | None = None) -> e.DeploymentChanged:
    def deployed(v: str) -> e.DeployedVersion:
        return e.DeployedVersion(version=v, base=BASE, graph=GRAPH)

    return e.DeploymentChanged.model_validate(
        {
            "id": uuid5(UUID(int=2), str(revision)), "time": START, "source": "test", "model": MODEL,
            "revision": revision, "champion": deployed(version), "change": change,
            "challenger": deployed(challenger) if challenger else None,
        }
    )  # fmt: skip


def feed(state: Watched, count: int, approval: float, **changes: object) -> tuple[Watched, list[e.Event]]:
    rng, found = random.Random(count), []
    first = state.approval.n + state.references * 10_000
    for number in range(first, first + count):
        policy, reward = POLICY.governing(state), float(rng.random() < approval)
        seen = policy.observed(state, session(number, reward, **changes), "test")
        state = seen.state
        found += seen.events
    return state, found


def drifted() -> tuple[Watched, e.DriftDetected]:
    state, nothing = feed(POLICY.deployed(Watched(model=MODEL), deployment(1, BASE, "registered"), START), 100, 0.9)
    assert nothing == []
    state, found = feed(state, 30, 0.1)
    (alarm,) = found
    assert isinstance(alarm, e.DriftDetected)
    return state, alarm


def test_other_arms_and_unrated_sessions_say_nothing() -> None:
    state = POLICY.deployed(Watched(model=MODEL), deployment(1, BASE, "registered"), START)
    others = [session(1, 1.0, arm="challenger", version=NEW), session(2, 1.0, arm="pinned"), session(3, None)]
    others.append(session(4, 1.0, arm="experiment", experiment=UUID(int=5), experiment_arm="kind"))
    assert [POLICY.observed(state, other, "test").decision for other in others] == [None] * 4
    assert POLICY.observed(state, session(9, 1.0), "test").decision is not None


def test_an_alarm_opens_an_occasion_and_its_id_comes_from_its_cause() -> None:
    state, alarm = drifted()
    assert state.trigger.occasion is not None
    assert state.trigger.occasion.alarm == alarm.id
    assert state.trigger.occasion.since == alarm.since
    assert alarm.sentence.startswith("Approval fell from ")
    assert drifted()[1] == alarm


def test_a_rise_is_told_and_never_asks_for_a_run() -> None:
    state, _ = feed(POLICY.deployed(Watched(model=MODEL), deployment(1, BASE, "registered"), START), 100, 0.3)
    state, found = feed(state, 60, 0.95)
    assert [getattr(event, "direction", None) for event in found] == ["rise"]
    assert state.trigger.occasion is None


def test_a_promotion_starts_a_new_reference_and_late_sessions_of_the_old_champion_are_left_out() -> None:
    state, _ = drifted()
    state = POLICY.deployed(state, deployment(2, BASE, "canary", NEW), START)
    assert state.trigger.candidate == NEW
    kept = POLICY.observed(state, session(1, 0.0), "test")
    assert kept.decision is not None
    state = POLICY.deployed(state, deployment(3, NEW, "promoted"), START)
    assert state.trigger.occasion is None
    on_its_way = POLICY.observed(state, session(2, 0.0), "test")
    assert on_its_way.decision is not None
    state = POLICY.observed(on_its_way.state, session(3, 1.0, version=NEW, revision=3), "test").state
    assert (state.version, state.approval.n) == (NEW, 1)
    assert POLICY.observed(state, session(4, 0.0), "test").decision is None


def test_an_alarm_about_a_version_that_was_replaced_asks_for_no_run() -> None:
    """A monitor that was down reads of the promotion before it has made evidence of the sessions before it."""
    state = POLICY.deployed(Watched(model=MODEL), deployment(3, NEW, "promoted"), START)
    state, _ = feed(state, 100, 0.9)
    state, found = feed(state, 30, 0.1)
    assert [type(event) for event in found] == [e.DriftDetected]
    assert state.trigger.occasion is None
    assert state.recovery is not None


def test_the_new_champion_resolves_the_alarm_when_its_evidence_says_so() -> None:
    state, alarm = drifted()
    state = POLICY.deployed(state, deployment(3, NEW, "promoted"), START)
    state, found = feed(state, 60, 0.9, version=NEW, revision=3)
    assessed, resolved = found  # its version ends, so it is assessed by what there is
    assert isinstance(assessed, e.DriftAssessed)
    assert isinstance(resolved, e.DriftResolved)
    assert resolved.alarm == alarm.id
    assert resolved.now.point > alarm.after.high
    assert state.recovery is None


def test_a_run_that_a_person_asked_for_outlives_the_end_of_an_alarm() -> None:
    state, _ = drifted()
    state = POLICY.deployed(state, deployment(2, BASE, "canary", NEW), START)
    state = POLICY.deployed(state, deployment(3, NEW, "promoted"), START)
    command = e.RetrainCommand(id=UUID(int=7), time=START, source="test", model=MODEL, who="ada", why="corrections")
    state, found = feed(POLICY.asked(state, command, START), 60, 0.9, version=NEW, revision=3)
    assert isinstance(found[-1], e.DriftResolved)
    assert state.trigger.occasion is not None
    assert (state.trigger.occasion.kind, state.trigger.occasion.cause) == ("person", command.id)


def asked(**changes: object) -> e.RetrainCommand:
    command = e.RetrainCommand(id=UUID(int=7), time=START, source="test", model=MODEL, who="ada")
    return command.model_copy(update=changes)


def recipe_of(state: Watched) -> str:
    assert state.trigger.occasion is not None
    return state.trigger.occasion.recipe


def test_the_recipe_that_a_person_asks_for_is_that_of_the_next_run() -> None:
    state = POLICY.asked(Watched(model=MODEL), asked(recipe="kto", why="thumbs"), START)
    assert recipe_of(state) == "kto"
    assert state.trigger.occasion is not None
    assert state.trigger.occasion.sentence == "ada asked for it, by recipe kto: thumbs"
    trigger = POLICY.trigger.requested(state.trigger, RUN, 20, START)
    assert recipe_of(state.model_copy(update={"trigger": trigger})) == "auto"


def test_an_alarm_stays_the_occasion_and_takes_the_recipe() -> None:
    state, alarm = drifted()
    state = POLICY.asked(state, asked(recipe="dpo"), START)
    assert recipe_of(state) == "dpo"
    assert state.trigger.occasion is not None
    assert state.trigger.occasion.alarm == alarm.id
    trigger = POLICY.trigger.failed(POLICY.trigger.requested(state.trigger, RUN, 20, START), START)
    assert trigger.occasion is not None
    assert (trigger.occasion.alarm, trigger.occasion.recipe) == (alarm.id, "auto")


def test_an_alarm_that_comes_after_a_person_asked_keeps_the_recipe() -> None:
    state, _ = feed(POLICY.deployed(Watched(model=MODEL), deployment(1, BASE, "registered"), START), 100, 0.9)
    state, _ = feed(POLICY.asked(state, asked(recipe="sft"), START), 30, 0.1)
    assert state.trigger.occasion is not None
    assert (state.trigger.occasion.kind, recipe_of(state)) == ("drift", "sft")


def test_a_champion_that_is_no_better_does_not_resolve_it() -> None:
    state, _ = drifted()
    state = POLICY.deployed(state, deployment(3, NEW, "promoted"), START)
    state, found = feed(state, 50, 0.1, version=NEW, revision=3)
    assert [event.TYPE for event in found] == [e.DriftAssessed.TYPE]
    assert state.recovery is not None


def test_a_rollback_counts_as_a_refused_candidate() -> None:
    state, _ = drifted()
    state = POLICY.deployed(state, deployment(2, BASE, "canary", NEW), START)
    state = POLICY.deployed(state, deployment(3, BASE, "rolled-back"), START)
    assert (state.trigger.rejections, state.trigger.candidate) == (1, None)
    assert state.trigger.occasion is not None


def waiting() -> Watched:
    """An alarm is open, and its candidate passed the gates."""
    state, _ = drifted()
    asked = POLICY.trigger.requested(state.trigger, RUN, 20, START)
    return state.model_copy(update={"trigger": POLICY.trigger.measured(asked, validated())})


def validated() -> e.CandidateValidated:
    return e.CandidateValidated(
        id=UUID(int=4), time=START, source="test", model=MODEL, run=RUN, adapter=NEW, slot_file=NEW, graph=GRAPH,
        report=NEW, gates=(),
    )  # fmt: skip


@pytest.mark.parametrize("change", ["rolled-back", "promoted"])
def test_another_champion_by_hand_is_no_verdict_on_the_candidate_that_waits(change: str) -> None:
    state = POLICY.deployed(waiting(), deployment(2, OTHER, change), START)
    assert (state.trigger.candidate, state.trigger.rejections, state.trigger.ended) == (NEW, 0, None)
    assert state.trigger.occasion is not None  # the alarm is not answered yet
    state = POLICY.deployed(state, deployment(3, OTHER, "canary", NEW), START)
    assert POLICY.deployed(state, deployment(4, OTHER, "rolled-back"), START).trigger.rejections == 1
    assert POLICY.deployed(state, deployment(4, NEW, "promoted"), START).trigger.occasion is None


def test_a_promotion_of_another_version_ends_the_trial_and_leaves_the_alarm_open() -> None:
    state = POLICY.deployed(waiting(), deployment(2, BASE, "canary", NEW), START)
    state = POLICY.deployed(state, deployment(3, OTHER, "promoted"), START)
    assert (state.trigger.candidate, state.trigger.rejections) == (None, 0)
    assert state.trigger.occasion is not None


def test_a_candidate_that_a_pin_took_away_is_known_again_once_it_passed_the_gates_again() -> None:
    trigger = POLICY.deployed(waiting(), deployment(2, OTHER, "pinned"), START).trigger
    assert trigger.candidate is None
    again = POLICY.trigger.measured(trigger, validated())
    assert (again.candidate, again.waits) == (NEW, True)
    busy = POLICY.trigger.requested(trigger, UUID(int=7), 20, START)
    assert POLICY.trigger.measured(busy, validated()) == busy  # another run goes on


@pytest.mark.parametrize("pinned", [BASE, NEW])
def test_a_pin_takes_the_candidate_off_its_trial_and_blames_it_for_nothing(pinned: str) -> None:
    state, _ = drifted()
    state = POLICY.deployed(state, deployment(2, BASE, "canary", NEW), START)
    state = POLICY.deployed(state, deployment(3, pinned, "pinned"), START)
    assert (state.trigger.rejections, state.trigger.candidate) == (0, None)
    assert (state.trigger.occasion is None) == (pinned == NEW)


def test_state_survives_json() -> None:
    state, _ = drifted()
    assert Watched.model_validate_json(state.model_dump_json()) == state


def test_each_reference_spends_its_part_of_the_error_budget() -> None:
    state, _ = drifted()
    assert state.references == 2
    assert POLICY.delta_spent(state) == pytest.approx(POLICY.approval.delta * 2 / 3)
    assert state.approval.delta == pytest.approx(POLICY.approval.delta / 6)


def configured(state: Watched, **sections: object) -> Watched:
    policy = ModelPolicy.model_validate({"model": MODEL, **sections})
    command = e.ConfigureModelCommand(
        id=uuid5(UUID(int=3), policy.digest), time=START, source="test", model=MODEL, who="ada", policy=policy,
        digest=policy.digest,
    )  # fmt: skip
    return POLICY.configured(state, command)


def test_a_policy_is_valid_from_where_it_stands_and_named_in_what_is_decided() -> None:
    state, alarm = drifted()
    assert alarm.policy is None
    state = configured(state, triggers={"max_rejections": 7}, detectors={"approval": {"reference_sessions": 40}})
    assert POLICY.governing(state).trigger.max_rejections == 7
    assert POLICY.governing(state).approval.n0 == 40
    state, _ = feed(state, 100, 0.5)
    _, found = feed(state, 60, 0.0)
    assert found
    assert {event.policy for event in found if isinstance(event, e.DriftDetected | e.DriftResolved)} == {state.digest}


def test_other_detectors_learn_from_new_and_other_triggers_do_not() -> None:
    state, _ = feed(POLICY.deployed(Watched(model=MODEL), deployment(1, BASE, "registered"), START), 100, 0.9)
    state = configured(state, detectors={"approval": {"reference_sessions": 80}})
    assert (state.approval.n, state.references) == (0, 2), "the first policy had another reference than the default"
    state, _ = feed(state, 30, 0.9)
    state = configured(state, detectors={"approval": {"reference_sessions": 80}}, triggers={"min_up": 3})
    assert (state.approval.n, state.references) == (30, 2)
    state = configured(state, detectors={"alpha": 1e-4})
    assert (state.approval.n, state.references) == (0, 3)


ABROAD = {"arm": "external", "revision": 0, "version": OTHER}


def fallen_elsewhere(state: Watched) -> tuple[Watched, e.DriftDetected]:
    state, nothing = feed(state, 100, 0.9, **ABROAD)
    assert nothing == []
    state, (alarm,) = feed(state, 30, 0.1, **ABROAD | {"version": NEW})
    assert isinstance(alarm, e.DriftDetected)
    return state, alarm


def test_answers_made_elsewhere_raise_an_alarm_and_train_only_what_is_deployed_here() -> None:
    state, alarm = fallen_elsewhere(Watched(model=MODEL))
    assert alarm.version == NEW, "another version there is no new beginning"
    assert alarm.sentence.endswith("Nothing is trained for them: the model is not deployed here.")
    here = POLICY.deployed(Watched(model=MODEL), deployment(1, BASE, "registered"), START)
    state, alarm = fallen_elsewhere(here)
    assert alarm.sentence.endswith("These answers were made elsewhere.")
    assert state.trigger.occasion is not None
    assert state.trigger.occasion.alarm == alarm.id


def test_the_detectors_follow_the_side_that_has_clearly_more_sessions() -> None:
    state, alarm = fallen_elsewhere(POLICY.deployed(Watched(model=MODEL), deployment(1, BASE, "registered"), START))
    tried, _ = feed(state, 20, 0.9)
    assert (tried.elsewhere, tried.approval) == (True, state.approval), "a few that somebody tries change nothing"
    moved, _ = feed(tried, 20, 0.9)
    assert (moved.elsewhere, moved.version, moved.lead) == (False, BASE, 0)
    assert moved.references == state.references + 1
    _, (resolved,) = feed(moved, 60, 0.9)
    assert isinstance(resolved, e.DriftResolved)
    assert resolved.alarm == alarm.id
    mixed = moved
    for _ in range(100):
        mixed, _ = feed(mixed, 1, 0.9)
        mixed, _ = feed(mixed, 1, 0.9, **ABROAD)
    assert not mixed.elsewhere
    assert mixed.lead <= 1
