"""Scrubbing finds what it should, leaves the rest alone, and cannot be made slow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl_streams.policy import ScrubPolicy
from pawl_streams.scrub import MAX_PHONE_CANDIDATES, scrub

POLICY = ScrubPolicy(phone_regions=("US", "DE"))


@pytest.mark.parametrize(
    ("text", "expected", "kinds"),
    [
        ("mail ada.lovelace+x@example.co.uk now.", "mail <email> now.", {"email": 1}),
        ("müller@exämple.de", "<email>", {"email": 1}),
        ("(415) 555-2671 or +49 30 901820", "<phone> or <phone>", {"phone": 2}),
        ("030/901820 is in Berlin", "<phone> is in Berlin", {"phone": 1}),
        ("card 4111 1111 1111 1111, 378282246310005", "card <card>, <card>", {"card": 2}),
        ("2024 4111-1111-1111-1111", "2024 <card>", {"card": 1}),
        ("IBAN DE89 3704 0044 0532 0130 00!", "IBAN <iban>!", {"iban": 1}),
        ("gb82west12345698765432", "<iban>", {"iban": 1}),
        ("from 203.0.113.9 and 2001:db8::8a2e:370:7334", "from <ip> and <ip>", {"ip": 2}),
        ("key AKIAIOSFODNN7EXAMPLE", "key <secret>", {"secret": 1}),
        ("password = hunter2hunter2;", "password = <secret>;", {"secret": 1}),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n", "<secret>\n", {"secret": 1}),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "<secret>", {"secret": 1}),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "<secret>", {"secret": 1}),
    ],
)
def test_finds(text: str, expected: str, kinds: dict[str, int]) -> None:
    assert scrub(text, POLICY) == (expected, kinds)


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112 and 1234 5678 9012 3456",  # no valid check digit
        "2024-01-05 12:30:00, 3.14159265358979, 100000000 200000000",
        "version 1.2.3.4.5, 127.0.0.1:8080, ::1, 12:30:45",
        "std::vector<int> a::b; x[1::2]; @decorator; a@b",
        "The secret: practising. password: please",
        "DE12 is a road",
        "<email> <phone> password=<secret>",
        "\ud800\x00 lone surrogate",
        "",
    ],
)
def test_leaves_alone(text: str) -> None:
    assert scrub(text, POLICY) == (text, {})


def test_a_policy_switches_kinds_off_and_all_of_it() -> None:
    text = "ada@example.org +49 30 901820"
    assert scrub(text, ScrubPolicy(enabled=False)) == (text, {})
    assert scrub(text, ScrubPolicy(kinds=frozenset({"phone"}))) == ("ada@example.org <phone>", {"phone": 1})


PIECES = [
    "ada@example.org", "4111111111111111", "DE89370400440532013000", "+49 30 901820", "10.1.2.3", "2001:db8::1",
    "password=", "AKIAIOSFODNN7EXAMPLE", "hunter22", "-", ".", "1", "a", ":", "@", "<email>", "<", "é", " ", "\n",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=200))
def test_doing_it_again_changes_nothing_and_no_finding_means_no_change(text: str) -> None:
    once, counts = scrub(text, POLICY)
    assert scrub(once, POLICY) == (once, {})
    assert counts or once == text
    assert not counts or once != text


HOSTILE = [
    "a", "1", "12 ", "a@", "x@a.", "(", ":", "1/2/", "+1 (23", "eyJ", "-----BEGIN PRIVATE KEY-----", "password=",
    "DE89 3704 ", "4111 ", "1.1.1.", "a@b.co ", "(415) 555-2671 ", "\ud800é", "a@a-", "gh", "api_key", "1.",
]  # fmt: skip


@pytest.mark.timeout(120)
def test_texts_made_to_be_slow_take_seconds() -> None:
    """16 KiB each: 1 s in all, and a quadratic pattern would need minutes."""
    for piece in HOSTILE:
        text = piece * (16_384 // len(piece))
        once, _ = scrub(text, POLICY)
        assert scrub(once, POLICY)[0] == once


def test_a_list_of_more_numbers_than_can_be_checked_is_taken_for_phone_numbers() -> None:
    text = "123 456 789\n" * (MAX_PHONE_CANDIDATES + 5)
    _, counts = scrub(text, POLICY)
    assert counts["phone"] >= 5
