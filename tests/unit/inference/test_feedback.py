from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from pawl_inference.domain.feedback import ComparisonError, FeedbackItem, Receipt, to_events
from pawl_shared.access.tokens import Grant, KeyRing, TokenError, sign

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RING = KeyRing.of(b"k" * 32)
MINE = Grant(UUID(int=1), 0, "default/assistant", "s-1", "ada", NOW + timedelta(days=7))
OTHER = replace(MINE, inference_id=UUID(int=2), session="s-2")
RECEIPT = Receipt(NOW, "edge")


def item(grant: Grant = MINE, **said: Any) -> FeedbackItem:
    return FeedbackItem(inference_id=grant.inference_id, token=sign(RING, grant), **said)


def events(body: FeedbackItem, receipt: Receipt = RECEIPT, seed: int = 0) -> Any:
    return to_events(RING, body, receipt, Random(seed))


def test_every_statement_becomes_one_event_with_the_answers_session_and_subject() -> None:
    made = events(
        item(
            thumb="down",
            rating=2,
            correction="Paris.",
            comment="too long",
            metrics={"resolved": True, "cost": 0.5},
            outcomes={"booked": True, "polite": 0.25},
            signals={"copied": False, "dwell_seconds": 3.5},
        )
    )
    assert [(e.kind, e.name, e.value, e.text) for e in made] == [
        ("thumb", "", 0.0, None),
        ("rating", "", 2.0, None),
        ("correction", "", None, "Paris."),
        ("comment", "", None, "too long"),
        ("metric", "cost", 0.5, None),
        ("metric", "resolved", 1.0, None),
        ("outcome", "booked", 1.0, None),
        ("outcome", "polite", 0.25, None),
        ("signal", "copied", 0.0, None),
        ("signal", "dwell_seconds", 3.5, None),
    ]
    for event in made:
        assert (event.model, event.session, event.subject) == (MINE.model, MINE.session, MINE.subject)
        assert (event.inference_id, event.choice, event.time) == (MINE.inference_id, 0, NOW)
    assert len({event.id for event in made}) == len(made)


def test_a_comparison_is_one_won_and_one_lost() -> None:
    won, lost = events(item(comparison={"over": OTHER.inference_id, "token": sign(RING, OTHER)}))
    assert (won.inference_id, won.session, won.value, won.other_inference_id) == (UUID(int=1), "s-1", 1.0, UUID(int=2))
    assert (lost.inference_id, lost.session, lost.value, lost.other_inference_id) == (
        UUID(int=2),
        "s-2",
        0.0,
        UUID(int=1),
    )


def test_with_an_idempotency_key_a_repeat_has_the_same_ids() -> None:
    body = item(thumb="up", comparison={"over": OTHER.inference_id, "token": sign(RING, OTHER)})
    keyed = replace(RECEIPT, idempotency_key="post-1")
    ids = [event.id for event in events(body, keyed, seed=1)]
    assert [event.id for event in events(body, keyed, seed=2)] == ids
    assert len(set(ids)) == 3
    assert [event.id for event in events(body, replace(keyed, idempotency_key="post-2"))] != ids
    assert [event.id for event in events(body, seed=1)] != [event.id for event in events(body, seed=2)]


@pytest.mark.parametrize(
    "forged",
    [
        lambda: item(replace(MINE, expires=NOW), thumb="up"),
        lambda: FeedbackItem(inference_id=UUID(int=2), token=sign(RING, MINE), thumb="up"),
        lambda: FeedbackItem(inference_id=UUID(int=1), token=sign(RING, MINE), choice=1, thumb="up"),
        lambda: FeedbackItem(inference_id=UUID(int=1), token=sign(KeyRing.of(b"x" * 32), MINE), thumb="up"),
        lambda: item(comparison={"over": UUID(int=2), "token": sign(RING, MINE)}),
        lambda: item(comparison={"over": UUID(int=1), "token": sign(RING, MINE)}),
        lambda: item(
            comparison={"over": UUID(int=2), "token": sign(RING, replace(OTHER, model="default/other"))},
        ),
    ],
    ids=["expired", "another-answer", "another-choice", "another-key", "other-token", "itself", "another-model"],
)
def test_a_token_gives_the_right_to_rate_one_answer_only(forged: Any) -> None:
    with pytest.raises((TokenError, ComparisonError)):
        events(forged())


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"signals": {}},
        {"thumb": "sideways"},
        {"rating": 0},
        {"rating": 6},
        {"correction": ""},
        {"metrics": {"score": float("nan")}},
        {"metrics": {"": 1}},
        {"metrics": {"\ud800": 1}},
        {"metrics": {"score": "high"}},
        {"signals": {"dwell_seconds": -1}},
        {"signals": {"hovered": True}},
        {"thumbs": "up"},
        {"thumb": "up", "correction": "\ud800"},
    ],
)
def test_malformed_statements_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        item(**said)
