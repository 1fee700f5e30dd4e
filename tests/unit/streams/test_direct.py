"""What any Kafka client may say, and what it may not."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from pawl_shared.access.tokens import Grant, KeyRing, sign
from pawl_shared.buses.port import Record
from pawl_shared.errors import DecodeError
from pawl_streams.direct import admit

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RING = KeyRing.of(b"k" * 32)
MINE = Grant(UUID(int=1), 2, "default/assistant", "s-1", "ada", NOW + timedelta(days=1))
OTHER = replace(MINE, inference_id=UUID(int=2), session="s-2")


def record(value: Any = None, grant: Grant = MINE, ring: KeyRing = RING, **headers: str | None) -> Record:
    said = {"inference_id": str(grant.inference_id), "kind": "thumb", "value": 1} if value is None else value
    given = {
        "ce_specversion": "1.0", "ce_type": "pawl.feedback.received.v1", "ce_source": "shop", "ce_id": "vote-1",
        "ce_time": NOW.isoformat(), "ce_feedbacktoken": sign(ring, grant), **headers,
    }  # fmt: skip
    pairs = tuple((name, text.encode()) for name, text in given.items() if text is not None)
    content = said if isinstance(said, bytes) else json.dumps(said).encode()
    return Record("pawl.feedback", 0, 0, NOW, b"any", content, pairs)


def test_the_token_says_whose_answer_it_is() -> None:
    lies = {"model": "other/model", "session": "s-9", "subject": "eve", "via": "edge", "id": str(UUID(int=9))}
    lies |= {"review": str(UUID(int=9)), "who": "eve"}  # only the console asks for reviews
    (event,) = admit(record({"inference_id": str(MINE.inference_id), "kind": "thumb", "value": 0} | lies), RING)
    assert (event.model, event.session, event.subject, event.choice) == ("default/assistant", "s-1", "ada", 2)
    assert (event.review, event.who) == (None, "")
    assert (event.via, event.source, event.value, event.time) == ("kafka", "shop", 0.0, NOW)


def test_a_repeat_has_the_same_id_and_nobody_can_take_another_answers() -> None:
    (first,), (again,) = admit(record(), RING), admit(record(), RING)
    (elsewhere,) = admit(record(grant=OTHER), RING)
    assert first.id == again.id != elsewhere.id


def test_a_comparison_is_one_won_and_one_lost() -> None:
    said = {"inference_id": str(MINE.inference_id), "kind": "comparison", "value": 1}
    said |= {"other_inference_id": str(OTHER.inference_id)}
    won, lost = admit(record(said, ce_otherfeedbacktoken=sign(RING, OTHER)), RING)
    assert (won.session, won.value, won.other_inference_id) == ("s-1", 1.0, OTHER.inference_id)
    assert (lost.session, lost.value, lost.other_inference_id) == ("s-2", 0.0, MINE.inference_id)
    first = replace(MINE, choice=0)  # of the same request
    between = said | {"other_inference_id": str(MINE.inference_id)}
    won, lost = admit(record(between, ce_otherfeedbacktoken=sign(RING, first)), RING)
    assert (won.choice, won.other_choice, lost.choice, lost.other_choice) == (2, 0, 0, 2)
    with pytest.raises(DecodeError, match="ce_otherfeedbacktoken"):
        admit(record(said), RING)
    with pytest.raises(DecodeError, match="two answers of one model"):
        admit(record(said, ce_otherfeedbacktoken=sign(RING, MINE)), RING)
    third = replace(OTHER, inference_id=UUID(int=3))
    with pytest.raises(DecodeError, match="belongs to another answer"):
        admit(record(said, ce_otherfeedbacktoken=sign(RING, third)), RING)


def said(**fields: Any) -> dict[str, Any]:
    return {"inference_id": str(MINE.inference_id), **fields}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record(ce_feedbacktoken=None), "no ce_feedbacktoken header"),
        (record(ce_feedbacktoken=None, **{"pawl-mark": "v1.0123abcd.x"}), "the same PAWL_TOKEN_KEY"),
        (record(ring=KeyRing.of(b"x" * 32)), "signature is wrong"),
        (record(grant=replace(MINE, expires=NOW)), "expired"),
        (record(said(kind="thumb", value=1) | {"inference_id": str(UUID(int=5))}), "belongs to another answer"),
        (record(said(kind="thumb", value=1, choice=0)), "belongs to another answer"),
        (record(ce_time=None), "needs ce_id and ce_time"),
        (record(ce_id=""), "needs ce_id and ce_time"),
        (record(ce_time="yesterday"), "time"),
        (record(ce_time=(NOW + timedelta(hours=1)).isoformat()), "in the future"),
        (record(ce_type="pawl.tick.v1"), "ce_type"),
        (record(ce_specversion="0.3"), "ce_specversion"),
        (record(b"\xff"), "not JSON"),
        (record(b"[" * 100_000), "not JSON"),
        (record([]), "not a JSON object"),
        (record(b'{"inference_id": "x"}'), "inference_id"),
        (record(said(kind="applause", value=1)), "kind"),
        (record(said(kind="thumb", value=2)), "a value from 0 to 1"),
        (record(said(kind="thumb")), "a value from 0 to 1"),
        (record(said(kind="rating", value=0)), "a value from 1 to 5"),
        (record(said(kind="metric", value=float("nan"), name="x")), "value"),
        (record(said(kind="metric", value=1)), "needs a name"),
        (record(said(kind="outcome", value=1)), "needs a name"),
        (record(said(kind="signal", name="copied")), "needs a value"),
        (record(said(kind="correction")), "needs a text"),
        (record(said(kind="comment", text="x" * 65_537)), "needs a text"),
    ],
)
def test_what_is_wrong_is_refused_with_its_reason(bad: Record, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        admit(bad, RING)
