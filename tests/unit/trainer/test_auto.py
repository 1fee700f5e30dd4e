"""Which recipe: the counts at which it turns, and a reason for every choice."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl_shared.recipes import RecipeChoice
from pawl_trainer.recipes.auto import Counts, decide, steps_for
from pawl_trainer.spec import TrainingSettings

SETTINGS = TrainingSettings()
NONE = Counts(explicit_pairs=0, mined_pairs=0, ups=0, downs=0, demonstrations=0)
COUNTS = st.builds(Counts, *[st.integers(0, 100)] * 5)


@pytest.mark.parametrize(
    ("counts", "recipe"),
    [
        (replace(NONE, explicit_pairs=12, ups=99, downs=99), "dpo"),
        (replace(NONE, explicit_pairs=11, ups=30, downs=30), "kto"),
        (replace(NONE, explicit_pairs=11, mined_pairs=1, ups=29, downs=99), "dpo"),
        (replace(NONE, mined_pairs=99, ups=30, downs=30), "kto"),
        (replace(NONE, ups=50, downs=29), "sft"),
        (replace(NONE, ups=29, downs=29, demonstrations=21), "sft"),
        (replace(NONE, ups=29, downs=29, demonstrations=20), None),
    ],
)
def test_auto_turns_where_it_says(counts: Counts, recipe: str | None) -> None:
    assert decide(counts, "auto", SETTINGS).recipe == recipe


def test_waiting_says_what_is_missing() -> None:
    choice = decide(replace(NONE, explicit_pairs=4, ups=10, downs=40), "auto", SETTINGS)
    assert choice.recipe is None
    assert "10 liked and 40 disliked answers, 4 corrections" in choice.reason
    assert "8 more corrections" in choice.missing
    assert "20 liked answers more" in choice.missing
    assert "40 more good answers" in choice.missing


@pytest.mark.parametrize("asked", ["kto", "dpo", "sft"])
def test_a_recipe_that_was_asked_for_still_needs_something_to_learn_from(asked: RecipeChoice) -> None:
    one_sided = replace(NONE, ups=1, downs=100)
    assert decide(one_sided, asked, SETTINGS).recipe is None
    assert decide(Counts(2, 0, 2, 2, 2), asked, SETTINGS).recipe == asked


@given(COUNTS)
def test_every_count_gets_a_choice_with_a_reason_and_more_feedback_never_means_waiting(counts: Counts) -> None:
    choice = decide(counts, "auto", SETTINGS)
    assert choice.reason
    assert (choice.recipe is None) == bool(choice.missing)
    if choice.recipe:
        more = replace(counts, ups=counts.ups + 1, explicit_pairs=counts.explicit_pairs + 1)
        assert decide(more, "auto", SETTINGS).recipe


@given(st.integers(1, 500))
def test_steps_are_between_one_epoch_and_six(examples: int) -> None:
    epoch = -(-examples // 4)
    steps = steps_for(examples, SETTINGS)
    assert epoch <= steps <= 6 * epoch
    assert steps == 18 or steps == epoch > 18 or steps == 6 * epoch < 18
