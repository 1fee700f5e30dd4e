"""Feedback that an app sends straight to pawl.feedback, with the answer's token in a header. Pure.

The token says whose answer it is, so model, session and subject are taken from it, whatever the value says. Accepted
feedback is published again under the edge's mark: with the right key (clients partition in their own ways), and so
that only what was checked is ever joined.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from pawl_shared.access.tokens import MARK_HEADER, Grant, KeyRing, TokenError, verify
from pawl_shared.buses.port import Record
from pawl_shared.codec import header
from pawl_shared.errors import DecodeError
from pawl_shared.events import FeedbackReceived
from pawl_shared.ids import derived_id

TOKEN_HEADER = "ce_feedbacktoken"  # noqa: S105 - a header's name
OTHER_TOKEN_HEADER = "ce_otherfeedbacktoken"  # noqa: S105
MAX_SKEW = timedelta(minutes=5)
MAX_TEXT = 65_536
# What each kind must bring: name, range of the value (None: no value), text.
_ANY = (float("-inf"), float("inf"))
_NEEDS: dict[str, tuple[bool, tuple[float, float] | None, bool]] = {
    "thumb": (False, (0, 1), False),
    "rating": (False, (1, 5), False),
    "comparison": (False, (1, 1), False),
    "outcome": (True, (0, 1), False),
    "signal": (True, _ANY, False),
    "metric": (True, _ANY, False),
    "correction": (False, None, True),
    "comment": (False, None, True),
}


def admit(record: Record, ring: KeyRing) -> tuple[FeedbackReceived, ...]:
    """The events that a record stands for: one, or two (won and lost) for a comparison.

    Raises:
        DecodeError: it is no such CloudEvent, or its token gives no right to rate this answer; the message says why.
    """
    if (kind := header(record.headers, "ce_type")) != FeedbackReceived.TYPE:
        raise DecodeError(f"ce_type is {kind!r}; feedback is {FeedbackReceived.TYPE}")
    if (version := header(record.headers, "ce_specversion")) != "1.0":
        raise DecodeError(f"ce_specversion is {version!r}; this reads 1.0")
    token = header(record.headers, TOKEN_HEADER)
    if not token and header(record.headers, MARK_HEADER):
        raise DecodeError(
            "marked with another key than ours: inference, streams and monitor need the same PAWL_TOKEN_KEY; give them "
            "the one that marked it, if only in PAWL_TOKEN_PREVIOUS_KEYS, and try this again"
        )
    if not token:
        raise DecodeError(f"no {TOKEN_HEADER} header: send the token that came with the answer (docs/feedback.md)")
    grant = _granted(ring, token, record.appended)
    value = _value(record)
    said = _event(record, grant, value)
    _check(said, grant, record.appended)
    if said.kind != "comparison":
        return (said,)
    other_token = header(record.headers, OTHER_TOKEN_HEADER)
    if not other_token:
        raise DecodeError(f"a comparison needs a {OTHER_TOKEN_HEADER} header: the token of the answer that lost")
    other = _granted(ring, other_token, record.appended)
    if other.model != grant.model or (other.inference_id, other.choice) == (grant.inference_id, grant.choice):
        raise DecodeError("a comparison needs two answers of one model")
    if said.other_inference_id != other.inference_id:
        raise DecodeError(f"{OTHER_TOKEN_HEADER} belongs to another answer than other_inference_id")
    won = said.model_copy(update={"other_choice": other.choice})
    lost = {**value, "value": 0.0, "inference_id": str(other.inference_id), "choice": other.choice}
    over = {"other_inference_id": str(grant.inference_id), "other_choice": grant.choice}
    return won, _event(record, other, lost | over)


def _granted(ring: KeyRing, token: str, now: datetime) -> Grant:
    try:
        return verify(ring, token, now)
    except TokenError as error:
        raise DecodeError(str(error)) from error


def _value(record: Record) -> dict[str, Any]:
    try:
        value = json.loads(record.value or b"")
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the value is not JSON: {str(error)[:200]}") from error
    if not isinstance(value, dict):
        raise DecodeError("the value is not a JSON object")
    return value


def _event(record: Record, grant: Grant, value: dict[str, Any]) -> FeedbackReceived:
    """Its id is the sender's within this answer: a repeat is found, and nobody can use another one's ids."""
    sender, time = header(record.headers, "ce_id"), header(record.headers, "ce_time")
    if not sender or not time:
        raise DecodeError("needs ce_id and ce_time, the same ones when it is sent again")
    trusted = {
        "id": derived_id(grant.inference_id, f"direct:{grant.choice}:{sender}"),
        "time": time,
        "source": (header(record.headers, "ce_source") or "unknown")[:200],
        "cause": None,
        "model": grant.model,
        "session": grant.session,
        "subject": grant.subject,
        "via": "kafka",
        "review": None,
        "who": "",
    }
    try:
        return FeedbackReceived.model_validate({"choice": grant.choice, **value, **trusted})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise DecodeError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"[:500]) from error


def _check(said: FeedbackReceived, grant: Grant, now: datetime) -> None:
    if (said.inference_id, said.choice) != (grant.inference_id, grant.choice):
        raise DecodeError(f"the feedback token belongs to another answer than {said.inference_id} choice {said.choice}")
    if said.time > now + MAX_SKEW:
        raise DecodeError(f"ce_time {said.time.isoformat()} is in the future")
    named, limits, texted = _NEEDS[said.kind]
    if named and not said.name:
        raise DecodeError(f"a {said.kind} needs a name")
    if texted and not (said.text and len(said.text) <= MAX_TEXT):
        raise DecodeError(f"a {said.kind} needs a text of at most {MAX_TEXT} characters")
    if limits and (said.value is None or not limits[0] <= said.value <= limits[1]):
        wanted = "a value" if limits is _ANY else f"a value from {limits[0]:g} to {limits[1]:g}"
        raise DecodeError(f"a {said.kind} needs {wanted}")
