"""The join is a pure fold: the order of arrival and repeats change nothing."""

import itertools
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import FEEDBACK, INFERENCE

from pawl_shared.events import FeedbackReceived, InferenceLogged, InteractionScored
from pawl_streams.feedback_join import Answer, join
from pawl_streams.scoring import RewardPolicy, reward, score

POLICY = RewardPolicy()


def said(kind: str, value: float | None = None, minutes: int = 0, name: str = "") -> FeedbackReceived:
    when = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    changes = {"id": uuid.uuid4(), "kind": kind, "value": value, "time": when, "name": name, "text": None}
    return FEEDBACK.model_copy(update=changes)


def play(*events: InferenceLogged | FeedbackReceived) -> tuple[Answer, list[InteractionScored]]:
    answer, revisions = Answer(), []
    for event in events:
        answer, revision = join(answer, event, POLICY, "test")
        revisions.append(revision)
    return answer, revisions


def test_every_order_with_repeats_ends_in_the_same_state() -> None:
    events = [INFERENCE, said("thumb", 1, 1), said("thumb", 0, 2), said("rating", 5, 3)]
    expected, _ = play(*events)
    for order in itertools.permutations(events):
        answer, revisions = play(*order, *order)
        assert answer == expected
        assert len({revision.id for revision in revisions}) == len(events)
        assert revisions[-1].reward == pytest.approx((0.0 + 1.0) / 2)


def test_what_was_kept_but_not_published_before_a_crash_is_answered_again() -> None:
    thumb = said("thumb", 1)
    kept, lost = join(Answer(), thumb, POLICY, "test")
    # After the crash the topics are read in another order.
    kept, first = join(kept, INFERENCE, POLICY, "test")
    again, second = join(kept, thumb, POLICY, "test")
    assert again == kept
    assert second.id == lost.id
    assert (first.reward, second.reward, second.joined, second.revision) == (1.0, 1.0, True, 2)


def test_a_revision_replaces_what_was_said_before() -> None:
    _, revisions = play(INFERENCE, said("thumb", 0, 1), said("thumb", 1, 2))
    assert [r.reward for r in revisions] == [None, 0.0, 1.0]
    assert [r.rated for r in revisions] == [False, True, True]


def test_feedback_for_an_unknown_answer_is_kept_apart_until_it_comes() -> None:
    _, revisions = play(said("thumb", 1), INFERENCE)
    assert [r.joined for r in revisions] == [False, True]
    assert revisions[-1].reward == 1.0


def test_the_id_of_a_revision_comes_from_its_cause_alone() -> None:
    thumb = said("thumb", 1)
    _, early = play(thumb)
    _, late = play(INFERENCE, thumb)
    assert early[0].id == late[1].id
    assert early[0].time == thumb.time


@pytest.mark.parametrize(
    ("feedback", "expected"),
    [
        (said("thumb", 1), 1.0),
        (said("thumb", 7), 1.0),
        (said("rating", 1), 0.0),
        (said("rating", 4), 0.75),
        (said("correction"), 0.0),
        (said("signal", 1, name="regenerated"), 0.0),
        (said("signal", 1, name="copied"), 1.0),
        (said("comment"), None),
        (said("metric", 12, name="basket"), None),
    ],
)
def test_scores(feedback: FeedbackReceived, expected: float | None) -> None:
    assert score(feedback) == expected


def test_what_people_say_outweighs_what_their_clicks_suggest() -> None:
    value, rated = reward({"thumb": 0.0, "signal/copied": 1.0}, POLICY)
    assert value == pytest.approx(0.2)
    assert rated
    assert reward({"signal/copied": 1.0}, POLICY) == (1.0, False)
    assert reward({"comparison/x": 1.0}, POLICY) == (None, False)


@given(st.dictionaries(st.sampled_from(["thumb", "rating", "signal/copied", "comparison/x"]), st.floats(0, 1)))
def test_a_reward_is_none_or_a_fraction(scores: dict[str, float]) -> None:
    value, _ = reward(scores, POLICY)
    assert value is None or 0 <= value <= 1
