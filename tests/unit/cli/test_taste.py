"""The crowd's taste: seeded, noisy, and honest about what it was never asked before."""

from random import Random

import pytest

from pawl_cli.demo.taste import (
    AUDIENCES,
    SHORT,
    TASTES,
    TEMPLATES,
    correction,
    shortened,
    thumb,
    visit,
    words,
)

BRIEF = "Rain is water that falls from clouds."
LONG = "Rain is water that falls from clouds. " + "It has many causes and many effects on people and animals. " * 6


def share_of_thumbs_up(taste: str, answer: str) -> float:
    rng = Random(1)
    thumbs = [thumb(rng, TASTES[taste], answer) for _ in range(4000)]
    given = [up for up in thumbs if up is not None]
    return sum(given) / len(given)


@pytest.mark.parametrize(
    ("taste", "answer", "expected"),
    [
        ("anything", LONG, 0.8),
        ("anything", BRIEF, 0.8),
        ("short", LONG, 0.15),
        ("short", BRIEF, 0.9),
        ("short", "", 0.15),
    ],
)
def test_thumbs_follow_the_taste_with_noise(taste: str, answer: str, expected: float) -> None:
    assert share_of_thumbs_up(taste, answer) == pytest.approx(expected, abs=0.03)


def test_a_visitor_is_a_function_of_the_seed() -> None:
    plans = [visit(Random("1:7"), "regular", TASTES["short"]) for _ in range(2)]
    assert plans[0] == plans[1]
    assert plans[0] != visit(Random("2:7"), "regular", TASTES["short"])


def test_unseen_people_ask_about_unseen_things() -> None:
    assert not set(AUDIENCES["regular"]) & set(AUDIENCES["unseen"])

    def asked(audience: str) -> tuple[set[str], set[str]]:
        rng = Random(0)
        plans = [visit(rng, audience, TASTES["short"]) for _ in range(2000)]
        return {plan.user for plan in plans}, {prompt for plan in plans for prompt in plan.prompts}

    (users, prompts), (new_users, new_prompts) = asked("regular"), asked("unseen")
    assert not users & new_users
    assert not prompts & new_prompts
    assert len(prompts) > 0.9 * len(AUDIENCES["regular"]) * len(TEMPLATES)


def test_only_the_disappointed_edit_a_long_answer() -> None:
    rng, taste = Random(3), TASTES["short"]
    assert all(correction(rng, taste, LONG, liked) is None for liked in (True, None) for _ in range(200))
    assert all(correction(rng, taste, BRIEF, False) is None for _ in range(200))
    edits = [correction(rng, taste, LONG, False) for _ in range(400)]
    assert {edit for edit in edits if edit} == {shortened(LONG)}
    assert 0.25 < sum(edit is not None for edit in edits) / 400 < 0.45


def test_a_shortened_answer_is_whole_sentences_of_at_most_the_limit() -> None:
    text = shortened(LONG)
    assert text is not None
    assert text.startswith(BRIEF)
    assert words(text) <= SHORT
    assert text.endswith(".")
    assert shortened("word " * 64) is None  # no sentence ends
    assert shortened("No. " + "word " * 64 + ".") is None  # one word is no answer
