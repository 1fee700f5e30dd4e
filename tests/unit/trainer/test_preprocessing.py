"""Preprocessing: pure, counted, and never a row too much."""

import unicodedata
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.training import correction, prompt, thumb

from pawl_trainer.preprocessing.cleaning import clean_row, clean_text, cut_model, looks_cut, malformed
from pawl_trainer.preprocessing.duplicates import merge_duplicates
from pawl_trainer.preprocessing.leakage import drop_leaks, shared_subjects
from pawl_trainer.preprocessing.pairs import mine_pairs
from pawl_trainer.preprocessing.pipeline import Material, prepare
from pawl_trainer.preprocessing.rows import Message, Row


@given(st.text())
def test_clean_text_is_stable_composed_and_trimmed(text: str) -> None:
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert cleaned == cleaned.strip()
    assert "\n\n\n" not in cleaned


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("cafe\u0301", "café"),
        ("a\u200bb\ufeff", "ab"),
        ("line  \r\nnext\t", "line\nnext"),
        ("a\n\n\n\nb", "a\n\nb"),
        ("def f():\n    return  1", "def f():\n    return  1"),
    ],
)
def test_clean_text_examples(dirty: str, clean: str) -> None:
    assert clean_text(dirty) == clean


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("It is a city in the north of the country and", True),
        ("It is a city in the north of the country.", False),
        ("Paris", False),
        ("1. Wash the rice\n2. Boil it", False),
        ("```python\nprint('a long line of code with many words in it')\n```", False),
    ],
)
def test_looks_cut(text: str, cut: bool) -> None:
    assert looks_cut(text) is cut


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (thumb(1), None),
        (thumb(1, messages=(Message("system", "Be kind."),)), "no question"),
        (thumb(1, completion="  \u200b "), "empty answer"),
        (thumb(1, label=None), "no label"),
        (correction(1, rejected="Pack a map 1. "), "both answers equal"),
        (correction(1, chosen=None), "empty answer"),
    ],
)
def test_malformed(row: Row, why: str | None) -> None:
    assert malformed(clean_row(row)) == why


def test_a_cut_answer_may_be_disliked_but_not_imitated() -> None:
    assert cut_model(thumb(1, liked=False, finished=False)) is None
    assert cut_model(correction(1, finished=False)) is None
    assert cut_model(thumb(1, finished=False)) is not None
    assert cut_model(thumb(1, kind="demonstration", label=None, finished=False)) is not None
    assert cut_model(correction(1, origin="comparison", chosen="It is a city in the north of the country and"))


def test_duplicates_become_one_row_with_all_feedback() -> None:
    rows = [thumb(1), replace(thumb(1), feedback_ids=("other",), inference_ids=("x",)), thumb(2)]
    kept, reasons = merge_duplicates(rows)
    assert [row.feedback_ids for row in kept] == [("feedback-1", "other"), ("feedback-2",)]
    assert reasons == ["merged"]


def test_thumbs_on_one_answer_vote_and_a_tie_drops_it() -> None:
    up, down = thumb(1), thumb(1, liked=False)
    assert merge_duplicates([up, down]) == ([], ["contradictory thumbs"] * 2)
    kept, reasons = merge_duplicates([down, up, down])
    assert [row.label for row in kept] == [False]
    assert sorted(reasons) == ["merged", "outvoted"]


def test_no_held_out_prompt_is_trained_on_whatever_its_spelling() -> None:
    rows = [
        thumb(1, messages=prompt("What is   TEA?"), split="heldout"),
        thumb(2, messages=prompt("what is tea?")),
        thumb(3, subject="person-1"),
    ]
    kept, reasons = drop_leaks(rows)
    assert kept == [rows[2]]
    assert reasons == ["kept for the evaluation", "prompt is also held out"]
    assert shared_subjects(rows) == 1
    assert shared_subjects([replace(row, subject=None) for row in rows]) == 0


def test_pairs_are_mined_within_a_prompt_only() -> None:
    tea, milk = prompt("What is tea?"), prompt("What is milk?")
    rows = [
        thumb(1, messages=tea),
        thumb(2, messages=tea),
        thumb(3, liked=False, messages=tea, finished=False),
        thumb(4, messages=milk),
        thumb(5, liked=False, messages=prompt("What is rice?")),
    ]
    pairs = mine_pairs(rows, Random(0))
    assert {(pair.chosen, pair.rejected) for pair in pairs} == {
        (rows[0].completion, rows[2].completion),
        (rows[1].completion, rows[2].completion),
    }
    assert pairs[0].feedback_ids == ("feedback-1", "feedback-3")
    assert not any(pair.finished for pair in pairs), "the rejected answer of each was cut"


ROWS = st.lists(
    st.builds(
        lambda kind, number, liked, finished, split, text: (
            correction(number, finished=finished, split=split, chosen=text)
            if kind == "pair"
            else thumb(
                number % 4, liked=liked, kind=kind, finished=finished, split=split, completion=text * (number % 3)
            )
        ),
        st.sampled_from(["pair", "binary", "demonstration"]),
        st.integers(0, 9),
        st.sampled_from([True, False, None]),
        st.booleans(),
        st.sampled_from(["train", "train", "heldout"]),
        st.sampled_from(["Pack a map.", "No.", "", "x " * 40]),
    ),
    max_size=40,
)


@given(ROWS)
def test_every_row_is_accounted_for_and_every_promise_kept(rows: list[Row]) -> None:
    material, report = prepare(rows, length=lambda row: len(" ".join(row.texts)), max_length=60, rng=Random(0))
    left = len(rows)
    for step in report.steps:
        assert step.before == left
        left = step.after
        assert step.after == step.before - sum(step.dropped.values())
    kept = [*material.explicit_pairs, *material.ups, *material.downs, *material.demonstrations]
    assert len(kept) == left
    heldout = {row.prompt_key for row in rows if row.split == "heldout"}
    assert not any(row.prompt_key in heldout for row in kept)
    assert all(all(row.texts) and len(" ".join(row.texts)) <= 60 for row in kept)
    assert all(row.finished for row in (*material.ups, *material.demonstrations))
    assert len({(row.kind, row.prompt_key, *row.texts) for row in kept}) == len(kept)


def test_the_report_counts_and_warns_without_any_text() -> None:
    rows = [thumb(n, liked=False) for n in range(30)] + [thumb(100), thumb(200, completion="word " * 600)]
    material, report = prepare(
        rows, length=lambda row: len((row.completion or "").split()), max_length=512, rng=Random(0)
    )
    plain = report.as_dict()
    assert plain["counts"]["downs"] == len(material.downs) == 30
    assert plain["steps"][-1]["dropped"] == {"longer than 512 tokens": 1}
    assert "1 of 31 usable rated answers were liked" in plain["warnings"][0]
    assert "soup" not in str(plain)


def test_corrections_come_before_comparisons_and_the_newest_first() -> None:
    rows = [correction(1), correction(2, origin="comparison"), correction(3)]
    material, _ = prepare(rows, length=lambda _: 1, max_length=9, rng=Random(0))
    assert [row.feedback_ids[0] for row in material.explicit_pairs] == ["feedback-3", "feedback-1", "feedback-2"]


def test_nothing_gives_nothing() -> None:
    material, report = prepare([], length=lambda _: 1, max_length=9, rng=Random(0))
    assert material == Material((), (), (), (), ())
    assert report.tokens == {}
