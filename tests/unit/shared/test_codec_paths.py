"""Decoding has a quick way for what is well-formed and a slow one for the rest: both must say the same."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pawl_shared import codec
from pawl_shared.errors import DecodeError
from pawl_shared.events import Event, FeedbackReceived

ENVELOPE = {"id": "0198c0de-0000-7000-8000-000000000001", "time": "2026-01-01T00:00:00Z"}
GOOD = {"inference_id": ENVELOPE["id"], "model": "m", "session": "s", "kind": "thumb", "value": 1}


def outcome(decode: Any, value: bytes, envelope: dict[str, Any]) -> Event | str:
    try:
        found: Event = decode(FeedbackReceived, value, envelope)
    except DecodeError as error:
        return str(error)
    return found


def same(value: bytes, source: str = "test") -> Event | str:
    envelope = ENVELOPE | {"source": source}
    headers = {f"ce_{name}": text.encode() for name, text in envelope.items()}
    quick = outcome(codec._validate, value, headers)
    slow = outcome(codec._validate_slowly, value, envelope)
    assert quick == slow
    return quick


@pytest.mark.parametrize(
    "value",
    [
        b'{"value": 1e999}', b'{"value": NaN}', b'{"text": "\\ud800"}', b'{"text": "\\u0000"}', b'{"text": "\xff"}',
        b"{}", b"{", b"}", b"{}}", b'{"a":"}', b'{"a":{}', b'{"a":[}', b'{"model":"m"},{}', b'{"id":1,"time":2}',
        b'{"session":"a","session":"b"}', b'{"value": 0.1e1}', b'{"value": "1"}', b'{"value": true}', b"[]", b" {} ",
        b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)  # fmt: skip
def test_nasty_values_end_alike(value: bytes) -> None:
    same(value)
    rest = json.dumps(GOOD).encode()
    if value.startswith(b"{") and len(value) > 2:
        same(rest[:-1] + b"," + value[1:])  # what comes later in an object wins
        same(value[:-1] + b"," + rest[1:])


def test_the_quick_way_is_taken() -> None:
    value = json.dumps(GOOD).encode()
    found = same(value)
    assert isinstance(found, FeedbackReceived)
    assert (found.source, found.time) == ("test", datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(ValidationError):  # it fails here only because the envelope is missing
        FeedbackReceived.model_validate_json(value)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "a b/c",
        'a"',
        'a","model":"x',
        'a","cause":"0198c0de-0000-7000-8000-000000000002',
        "a\\",
        "a\\u0041",
        "a\n",
        "\u2603",
        '"',
        "\x7f",
    ],
)
def test_any_source_ends_alike(source: str) -> None:
    same(json.dumps(GOOD).encode(), source)


TEXTS = st.text('a1-"\\{}[],:\x00\u2603', max_size=6)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*GOOD, *ENVELOPE, "text", "other"]), st.none() | TEXTS | st.floats()))
def test_any_fields_end_alike(fields: dict[str, Any]) -> None:
    same(json.dumps(GOOD | fields).encode())
