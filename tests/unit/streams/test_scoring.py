import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import FEEDBACK

from pawl_shared.events import FeedbackReceived
from pawl_shared.policies.reward_policy import RewardPolicy, Scale, Weight
from pawl_streams.scoring import correction_score, reward, score, sketch

POLICY = RewardPolicy(comparison=Weight(weight=0.5), metrics={"stars": Scale(weight=0.5, bad=1, good=5)})


def said(kind: str, value: float | None = None, name: str = "") -> FeedbackReceived:
    return FEEDBACK.model_copy(update={"kind": kind, "value": value, "name": name, "text": None})


@pytest.mark.parametrize(
    ("feedback", "expected"),
    [
        (said("thumb", 1), 1.0),
        (said("thumb", 7), 1.0),
        (said("rating", 1), 0.0),
        (said("rating", 4), 0.75),
        (said("comparison", 0), 0.0),
        (said("outcome", 0.3), 0.3),
        (said("signal", 1, "regenerated"), 0.0),
        (said("signal", 1, "copied"), 1.0),
        (said("signal", 9, "dwell_seconds"), None),
        (said("metric", 4, "stars"), 0.75),
        (said("metric", 99, "stars"), 1.0),
        (said("metric", 12, "basket"), None),
        (said("correction"), None),
        (said("comment"), None),
    ],
)
def test_scores(feedback: FeedbackReceived, expected: float | None) -> None:
    assert score(feedback, POLICY) == expected


def test_what_people_say_outweighs_what_their_clicks_suggest() -> None:
    value, rated = reward([("thumb", 0.0, 1.0), ("signal/copied", 1.0, 1.0)], POLICY)
    assert value == pytest.approx(0.2)
    assert rated
    assert reward([("signal/copied", 1.0, 1.0)], POLICY) == (1.0, False)
    assert reward([("comparison/x", 1.0, 1.0)], RewardPolicy()) == (None, False)


def test_trust_bounds_how_sure_a_statement_can_be() -> None:
    policy = RewardPolicy(thumb=Weight(trust=0.4))
    assert reward([("thumb", 1.0, 1.0)], policy)[0] == pytest.approx(0.7)
    assert reward([("thumb", 0.0, 1.0)], policy)[0] == pytest.approx(0.3)


@given(st.dictionaries(st.sampled_from(["thumb", "rating", "signal/copied", "comparison/x"]), st.floats(0, 1)))
def test_a_reward_is_none_or_a_fraction_in_any_order(scores: dict[str, float]) -> None:
    items = [(slot, value, 1.0) for slot, value in scores.items()]
    value, _ = reward(items, POLICY)
    assert value is None or 0 <= value <= 1
    assert reward(items[::-1], POLICY)[0] == value


@given(st.text(max_size=3000), st.text(max_size=3000))
def test_a_correction_is_worth_a_fraction_and_none_changes_everything(answer: str, correction: str) -> None:
    assert 0 <= correction_score(sketch(answer), sketch(correction), 0.5) <= 1
    assert correction_score(sketch(answer), sketch(answer), 0.5) == (1.0 if answer.split() else 0.0)
    assert len(sketch(answer)) <= 344
