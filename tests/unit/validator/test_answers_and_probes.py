"""The rules for bad answers, and the frozen probe sets."""

import pytest

from pawl_validator.evaluation import probes
from pawl_validator.evaluation.answers import is_repetitive, is_short


@pytest.mark.parametrize(
    ("answer", "short"), [("", True), ("Paris.", True), ("Yes, sure.", True), ("Ask a friend.", False)]
)
def test_short(answer: str, short: bool) -> None:
    assert is_short(answer) is short


@pytest.mark.parametrize(
    "answer",
    [
        "the the the the end",
        "!" * 40,
        "It is a good idea. It is a good idea. It is a good idea. It is a good idea.",
    ],
)
def test_repetitive(answer: str) -> None:
    assert is_repetitive(answer)


def test_a_list_of_steps_is_not_repetitive() -> None:
    assert not is_repetitive(
        "First, boil the water. Second, add the rice. Third, wait until the water is gone. Serve it."
    )


@pytest.mark.parametrize("name", ["neutral_texts", "prompts"])
def test_probe_sets_are_large_and_without_doubles(name: probes.SetName) -> None:
    items = probes.load(name)
    assert len(items) >= 200
    assert len({item.text for item in items}) == len({item.id for item in items}) == len(items)
    assert len({item.slice for item in items}) >= 9


def test_fewer_probes_still_come_from_every_slice() -> None:
    items = probes.load("prompts")
    some = probes.spread(items, 96)
    assert len({item.id for item in some}) == 96
    assert {item.slice for item in some} == {item.slice for item in items}
    assert probes.spread(items, 1000) == items
