from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import FEEDBACK

from pawl_shared.access.tokens import MARK_HEADER, Grant, KeyRing, TokenError, is_marked, mark, sign, verify
from pawl_shared.buses.port import Message, Record
from pawl_shared.codec import encode

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GRANT = Grant(UUID(int=1), 0, "default/assistant", "s-1", "abc", NOW + timedelta(days=7))
RING = KeyRing.of(b"k" * 32)


def test_a_token_carries_what_feedback_needs() -> None:
    assert verify(RING, sign(RING, GRANT), NOW) == GRANT


@given(session=st.text(max_size=256), subject=st.none() | st.text(max_size=64), choice=st.integers(0, 9))
def test_any_grant_survives(session: str, subject: str | None, choice: int) -> None:
    grant = replace(GRANT, session=session, subject=subject, choice=choice)
    token = sign(RING, grant)
    assert verify(RING, token, NOW) == grant
    assert token.isascii()


@given(position=st.integers(0, 500), replacement=st.sampled_from("AZaz09-_.é"))
def test_any_changed_character_is_noticed(position: int, replacement: str) -> None:
    token = sign(RING, GRANT)
    position %= len(token)
    changed = token[:position] + replacement + token[position + 1 :]
    if changed != token:
        with pytest.raises(TokenError):
            verify(RING, changed, NOW)


@given(st.text(max_size=200))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        verify(RING, text, NOW)


def test_it_expires() -> None:
    token = sign(RING, GRANT)
    verify(RING, token, GRANT.expires - timedelta(seconds=1))
    with pytest.raises(TokenError, match="expired"):
        verify(RING, token, GRANT.expires)


def test_another_key_does_not_verify() -> None:
    with pytest.raises(TokenError, match="signature"):
        verify(KeyRing.of(b"x" * 32), sign(RING, GRANT), NOW)


def test_an_older_key_still_verifies_after_a_rotation() -> None:
    rotated = KeyRing.of(b"n" * 32, b"k" * 32)
    assert verify(rotated, sign(RING, GRANT), NOW) == GRANT
    assert sign(rotated, GRANT) != sign(RING, GRANT)


def test_a_known_key_id_alone_does_not_help() -> None:
    """The MAC of one key under the id of another."""
    both = KeyRing.of(b"n" * 32, b"k" * 32)
    version, _, payload, mac = sign(RING, GRANT).split(".")
    with pytest.raises(TokenError):
        verify(both, ".".join((version, both.signing, payload, mac)), NOW)


def record(message: Message) -> Record:
    return Record(message.topic, 0, 0, NOW, message.key, message.value, message.headers)


def test_only_who_has_the_key_can_mark_feedback() -> None:
    plain = encode(FEEDBACK)
    marked = mark(RING, plain)
    assert is_marked(RING, record(marked))
    assert is_marked(KeyRing.of(b"n" * 32, b"k" * 32), record(marked))
    assert not is_marked(RING, record(plain))
    assert not is_marked(RING, record(mark(KeyRing.of(b"x" * 32), plain)))


def test_a_mark_covers_the_value_and_the_identity() -> None:
    marked = mark(RING, encode(FEEDBACK))
    value = (marked.value or b"").replace(b"blue", b"red")
    assert not is_marked(RING, record(replace(marked, value=value)))
    for name in ("ce_id", "ce_time", "ce_source", "ce_type"):
        headers = tuple((key, b"0" if key == name else content) for key, content in marked.headers)
        assert not is_marked(RING, record(replace(marked, headers=headers)))


def test_a_token_is_no_mark() -> None:
    plain = encode(FEEDBACK)
    token = sign(RING, GRANT).encode()
    assert not is_marked(RING, record(replace(plain, headers=(*plain.headers, (MARK_HEADER, token)))))
