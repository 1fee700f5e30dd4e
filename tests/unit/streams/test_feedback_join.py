"""The join is a pure fold: the order of arrival and repeats change nothing."""

import itertools
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from support.samples import FEEDBACK, INFERENCE

from pawl_shared.events import FeedbackReceived, InferenceLogged, InteractionScored
from pawl_shared.policies.reward_policy import RewardPolicy, Scale, Weight
from pawl_streams.feedback_join import MAX_SLOTS, Answer, join

POLICY = RewardPolicy()


def said(kind: str, value: float | None = None, minutes: int = 0, name: str = "", text: str = "") -> FeedbackReceived:
    when = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    changes = {"id": uuid.uuid4(), "kind": kind, "value": value, "time": when, "name": name, "text": text or None}
    return FEEDBACK.model_copy(update=changes)


def play(
    *events: InferenceLogged | FeedbackReceived, policy: RewardPolicy = POLICY
) -> tuple[Answer, list[InteractionScored]]:
    answer, revisions = Answer(), []
    for event in events:
        answer, revision = join(answer, event, policy, "test")
        revisions.append(revision)
    return answer, revisions


def test_every_order_with_repeats_ends_in_the_same_state() -> None:
    events = [INFERENCE, said("thumb", 1, 1), said("thumb", 0, 2), said("rating", 5, 3)]
    expected, _ = play(*events)
    for order in itertools.permutations(events):
        answer, revisions = play(*order, *order)
        assert answer.model_copy(update={"revision": 0}) == expected.model_copy(update={"revision": 0})
        assert revisions[-1].reward == pytest.approx((0.0 + 1.0) / 2)


def test_a_revision_replaces_what_was_said_before() -> None:
    _, revisions = play(INFERENCE, said("thumb", 0, 1), said("thumb", 1, 2))
    assert [r.reward for r in revisions] == [None, 0.0, 1.0]
    assert [r.rated for r in revisions] == [False, True, True]
    assert [r.revision for r in revisions] == [1, 2, 3]


def test_comparisons_with_two_choices_of_one_request_both_count() -> None:
    policy = RewardPolicy(comparison=Weight(weight=1.0))
    won, lost = said("comparison", 1.0), said("comparison", 0.0, 1)
    over = [each.model_copy(update={"other_inference_id": uuid.UUID(int=1)}) for each in (won, lost)]
    second = over[1].model_copy(update={"other_choice": 1})
    assert play(INFERENCE, over[0], second, policy=policy)[1][-1].reward == 0.5
    assert play(INFERENCE, *over, policy=policy)[1][-1].reward == 0.0


def test_a_statement_that_comes_late_and_was_replaced_before_changes_nothing() -> None:
    answer, (_, newer, older) = play(INFERENCE, said("thumb", 1, 2), said("thumb", 0, 1))
    assert (newer.reward, newer.revision) == (older.reward, older.revision) == (1.0, 2)
    assert len(answer.statements) == 1


def test_a_repeat_is_published_again_as_it_stands_under_the_same_id() -> None:
    thumb = said("thumb", 0, 1)
    _, revisions = play(INFERENCE, thumb, said("rating", 5, 2), thumb)
    assert revisions[3].id == revisions[1].id
    assert (revisions[3].reward, revisions[3].revision) == (revisions[2].reward, revisions[2].revision)


def test_feedback_for_an_unknown_answer_is_kept_apart_until_it_comes() -> None:
    _, (early, late) = play(said("thumb", 1), INFERENCE)
    assert (early.joined, late.joined) == (False, True)
    assert "not known" in early.reason
    assert (late.reward, late.reason) == (1.0, "")


def test_the_id_of_a_revision_comes_from_its_cause_alone() -> None:
    thumb = said("thumb", 1)
    _, early = play(thumb)
    _, late = play(INFERENCE, thumb)
    assert early[0].id == late[1].id
    assert early[0].time == thumb.time


def test_the_state_stays_small_whatever_is_said() -> None:
    policy = RewardPolicy(metrics={f"m{n}": Scale() for n in range(200)})
    thumbs = [said("thumb", n % 2, n) for n in range(200)]
    comments = [said("comment", text="x" * 1000) for _ in range(200)]
    unknown = [said("metric", 1.0, name=f"unknown{n}") for n in range(200)]
    answer, revisions = play(INFERENCE, *thumbs, *comments, *unknown, policy=policy)
    assert (set(answer.statements), revisions[-1].reward) == ({"thumb"}, 1.0)
    weighed = [said("metric", 1.0, n, name=f"m{n}") for n in range(200)]
    states = {
        tuple(play(INFERENCE, *order, policy=policy)[0].statements) for order in (weighed, weighed[::-1], weighed * 2)
    }
    assert states == {tuple(sorted(f"metric/m{n}" for n in range(200 - MAX_SLOTS, 200)))}


def test_a_tiny_fix_is_no_failure_and_a_new_answer_is_one_in_either_order() -> None:
    long = INFERENCE.model_copy(update={"answer": " ".join(f"word{n}" for n in range(20))})
    fix = said("correction", text=long.answer.replace("word7", "term7"))
    other = said("correction", text="Something else altogether.")
    for order in itertools.permutations((long, fix)):
        assert play(*order)[1][-1].reward == pytest.approx((19 / 20 - 0.5) / 0.5)
    for order in itertools.permutations((long, other)):
        assert play(*order)[1][-1].reward == 0.0
    assert play(long, fix, policy=RewardPolicy(unchanged=1.0))[1][-1].reward == 0.0


def test_what_a_reviewer_says_is_passed_on_and_counts_for_no_reward() -> None:
    review = said("thumb", 0, 3).model_copy(update={"review": uuid.uuid4(), "who": "ada"})
    thumb = said("thumb", 1, 1)
    answer, revisions = play(INFERENCE, thumb, review)
    assert answer == play(INFERENCE, thumb)[0]
    assert (revisions[2].feedback, revisions[2].reward, revisions[2].rated) == (review, 1.0, True)
    assert (revisions[1].revision, revisions[2].revision) == (2, 2)
    _, (_, alone) = play(INFERENCE, review)
    assert (alone.reward, alone.rated, alone.feedback) == (None, False, review)
