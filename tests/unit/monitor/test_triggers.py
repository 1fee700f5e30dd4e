"""The trigger policy: every condition alone can hold it back, and says so."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from pawl_monitor.domain.trigger_state import Occasion, TriggerState, Usable
from pawl_monitor.domain.triggers import TriggerPolicy
from pawl_shared.policies.model_policy import Budget

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = UUID(int=1)
POLICY = TriggerPolicy()
ALARM = Occasion(alarm=UUID(int=2), since=NOW, sentence="approval fell")
OPEN = TriggerState(occasion=ALARM)
ENOUGH = Usable(pairs=12, heldout_pairs=8)


@pytest.mark.parametrize("usable", [ENOUGH, Usable(up=30, down=30, heldout_up=10, heldout_down=10)])
def test_fires_with_an_alarm_and_enough_feedback(usable: Usable) -> None:
    decision = POLICY.decide(OPEN, usable, NOW)
    assert decision.fire
    assert decision.sentence.startswith("retrain: approval fell; ")
    assert all(reason.holds for reason in decision.reasons)


@pytest.mark.parametrize(
    ("state", "usable", "missing", "words"),
    [
        (TriggerState(), ENOUGH, "occasion", "no alarm is open"),
        (OPEN, Usable(pairs=7, heldout_pairs=8), "feedback", "7 of 12 corrections"),
        (OPEN, Usable(up=30, down=29, heldout_pairs=8), "feedback", "29 of 30 disliked"),
        (
            OPEN,
            Usable(pairs=12, heldout_pairs=7, heldout_up=10, heldout_down=9),
            "heldout",
            "9 disliked answers of 10 each, and 7 of 8",
        ),
        (OPEN.model_copy(update={"run": RUN}), ENOUGH, "idle", "in progress"),
        (OPEN.model_copy(update={"candidate": "c" * 64}), ENOUGH, "idle", "on trial"),
        (OPEN.model_copy(update={"ended": NOW - timedelta(minutes=9)}), ENOUGH, "cooldown", "60 s of the cooldown"),
        (OPEN.model_copy(update={"paused": "ann paused the loop"}), ENOUGH, "running", "ann paused"),
    ],
)
def test_each_condition_holds_it_back_and_says_so(
    state: TriggerState, usable: Usable, missing: str, words: str
) -> None:
    decision = POLICY.decide(state, usable, NOW)
    assert not decision.fire
    assert [reason.name for reason in decision.reasons if not reason.holds] == [missing]
    assert decision.sentence.startswith("not yet: ")
    assert words in decision.sentence


def test_after_a_refused_candidate_it_wants_more_data_and_pauses_in_the_end() -> None:
    state = OPEN
    for attempt in range(1, POLICY.max_rejections + 1):
        state = POLICY.rejected(POLICY.requested(state, RUN, 20, NOW), NOW)
        assert state.rejections == attempt
        assert state.occasion == ALARM
    assert "3 candidates in a row" in state.paused
    later = NOW + POLICY.cooldown
    resumed = POLICY.paused(state, "")
    assert (resumed.paused, resumed.rejections) == ("", 0)
    once = POLICY.rejected(POLICY.requested(OPEN, RUN, 20, NOW), NOW)
    assert not POLICY.decide(once, Usable(pairs=29, heldout_pairs=8), later).fire
    assert POLICY.decide(once, Usable(pairs=30, heldout_pairs=8), later).fire


def test_a_promotion_answers_the_alarm() -> None:
    state = POLICY.promoted(POLICY.validated(POLICY.requested(OPEN, RUN, 20, NOW), "c" * 64, waits=False), NOW)
    assert (state.occasion, state.run, state.candidate, state.rejections) == (None, None, None, 0)


def test_a_person_asks_for_one_run_only() -> None:
    asked = TriggerState(occasion=Occasion(alarm=None, since=NOW, sentence="ann asked for it"))
    assert POLICY.decide(asked, ENOUGH, NOW).fire
    assert POLICY.failed(POLICY.requested(asked, RUN, 20, NOW), NOW).occasion is None


def test_only_what_can_fire_is_worth_counting_for() -> None:
    assert POLICY.due(OPEN, NOW)
    assert not POLICY.due(TriggerState(), NOW)
    assert not POLICY.due(OPEN.model_copy(update={"run": RUN}), NOW)


TICK = UUID(int=9)
DAY = timedelta(days=1)


def test_a_schedule_asks_for_a_run_so_long_after_the_last_one() -> None:
    policy = TriggerPolicy(every=7 * DAY)
    state = policy.ticked(TriggerState(), NOW, TICK)
    assert state.occasion is None
    assert "a run is due at 2026-01-08 00:00:00" in policy.decide(state, ENOUGH, NOW).reasons[0].sentence
    assert policy.ticked(state, NOW + 6.9 * DAY, TICK).occasion is None
    state = policy.ticked(state, NOW + 7 * DAY, TICK)
    assert state.occasion is not None
    assert (state.occasion.kind, state.occasion.cause, state.occasion.since) == ("schedule", TICK, NOW)
    assert policy.ticked(state, NOW + 8 * DAY, UUID(int=10)).occasion == state.occasion, "the same one goes on asking"
    assert policy.decide(state, ENOUGH, NOW + 8 * DAY).fire
    done = policy.promoted(policy.requested(state, RUN, 20, NOW + 8 * DAY), NOW + 9 * DAY)
    assert policy.ticked(done, NOW + 14 * DAY, TICK).occasion is None
    assert policy.ticked(done, NOW + 15 * DAY, TICK).occasion is not None


def test_new_pairs_ask_for_a_run_and_are_counted_from_the_last_one() -> None:
    policy = TriggerPolicy(new_pairs=200)
    state = policy.ticked(TriggerState(), NOW, TICK)
    few, enough = Usable(pairs=143, heldout_pairs=8), Usable(pairs=200, heldout_pairs=8)
    assert policy.due(state, NOW)
    decision = policy.decide(state, few, NOW)
    assert not decision.fire
    assert "143 of 200 new corrections or comparisons since 2026-01-01" in decision.sentence
    assert policy.decide(state, enough, NOW).fire
    assert policy.patience(state) > policy.weigh_every
    asked = policy.promoted(policy.requested(state, RUN, 200, NOW + DAY), NOW + DAY)
    again = policy.ticked(asked, NOW + 2 * DAY, TICK)
    assert again.occasion is not None
    assert again.occasion.since == NOW + DAY
    assert TriggerPolicy().ticked(again, NOW + 2 * DAY, TICK).occasion is None, "the policy asks no longer"


def test_an_alarm_goes_before_what_is_routine_and_is_not_ended_by_a_tick() -> None:
    policy = TriggerPolicy(new_pairs=200, every=DAY)
    state = policy.ticked(OPEN, NOW + 3 * DAY, TICK)
    assert state.occasion == ALARM


def test_the_budget_counts_runs_and_gpu_seconds_of_seven_days() -> None:
    policy = TriggerPolicy(budget=Budget(runs_per_week=2, gpu_seconds_per_week=100))
    state = OPEN
    for number in (1, 2):
        run, at = UUID(int=number), NOW + number * DAY
        state = policy.started(policy.requested(state, run, 20, at), run, "cuda" if number == 1 else "cpu", at)
        state = policy.failed(policy.trained(state, run, at + timedelta(seconds=90)), at)
    decision = policy.decide(state, ENOUGH, NOW + 3 * DAY)
    assert [reason.name for reason in decision.reasons if not reason.holds] == ["budget"]
    assert "2 of 2 runs in the last 7 days; 90 of 100 GPU seconds" in decision.sentence
    assert not policy.due(state, NOW + 3 * DAY)
    assert policy.decide(state, ENOUGH, NOW + 8 * DAY).fire, "the first is a week old"
    assert len(policy.ticked(state, NOW + 8 * DAY, TICK).runs) == 1
    dear = TriggerPolicy(budget=Budget(gpu_seconds_per_week=90))
    assert not dear.decide(state, ENOUGH, NOW + 3 * DAY).fire
    assert TriggerPolicy().decide(state, ENOUGH, NOW + 3 * DAY).fire
