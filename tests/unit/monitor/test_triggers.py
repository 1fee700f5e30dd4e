"""The trigger policy: every condition alone can hold it back, and says so."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from pawl_monitor.domain.triggers import Occasion, TriggerPolicy, TriggerState, Usable

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
        state = POLICY.rejected(POLICY.requested(state, RUN, 20), NOW)
        assert state.rejections == attempt
        assert state.occasion == ALARM
    assert "3 candidates in a row" in state.paused
    later = NOW + POLICY.cooldown
    resumed = POLICY.paused(state, "")
    assert (resumed.paused, resumed.rejections) == ("", 0)
    once = POLICY.rejected(POLICY.requested(OPEN, RUN, 20), NOW)
    assert not POLICY.decide(once, Usable(pairs=29, heldout_pairs=8), later).fire
    assert POLICY.decide(once, Usable(pairs=30, heldout_pairs=8), later).fire


def test_a_promotion_answers_the_alarm() -> None:
    state = POLICY.promoted(POLICY.validated(POLICY.requested(OPEN, RUN, 20), "c" * 64), NOW)
    assert (state.occasion, state.run, state.candidate, state.rejections) == (None, None, None, 0)


def test_a_person_asks_for_one_run_only() -> None:
    asked = TriggerState(occasion=Occasion(alarm=None, since=NOW, sentence="ann asked for it"))
    assert POLICY.decide(asked, ENOUGH, NOW).fire
    assert POLICY.failed(POLICY.requested(asked, RUN, 20), NOW).occasion is None


def test_only_what_can_fire_is_worth_counting_for() -> None:
    assert POLICY.due(OPEN, NOW)
    assert not POLICY.due(TriggerState(), NOW)
    assert not POLICY.due(OPEN.model_copy(update={"run": RUN}), NOW)
