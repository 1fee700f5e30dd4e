"""Each gate on its own: what passes, what fails, and what is too little to judge."""

import random

import pytest

from pawl_validator.domain import gates
from pawl_validator.domain import statistics as st

POLICY = gates.Gates()
GOOD = gates.Integrity(problems=(), tensors=420, change_from_start=0.01, change_from_parent=0.02)


def flags(count: int, bad: int) -> tuple[bool, ...]:
    return tuple(index < bad for index in range(count))


def answers(short: int = 0, repetitive: int = 0, unfinished: int = 0, count: int = 96) -> gates.Answers:
    return gates.Answers(
        short=flags(count, short),
        repetitive=flags(count, repetitive),
        unfinished=flags(count, unfinished),
        words=(20,) * count,
    )


def test_integrity_passes_a_sound_file() -> None:
    assert gates.integrity(POLICY, GOOD).passed


@pytest.mark.parametrize(
    ("update", "sentence"),
    [
        ({"problems": ("made for another base",)}, "another base"),
        ({"non_finite": 3}, "3 weights are not finite"),
        ({"change_from_start": 0.0}, "changes nothing"),
        ({"change_from_parent": 0.0}, "identical to the parent"),
    ],
)
def test_integrity_names_what_is_wrong(update: dict[str, object], sentence: str) -> None:
    result = gates.integrity(POLICY, GOOD.model_copy(update=update))
    assert not result.passed
    assert sentence in result.sentence


def test_learned_passes_on_pairs_that_prefer_the_candidate() -> None:
    assert gates.learned(POLICY, gates.Learned(pairs=(1.0,) * 11 + (-1.0,))).passed


def test_learned_needs_more_than_chance_and_enough_probes() -> None:
    assert not gates.learned(POLICY, gates.Learned(pairs=(1.0,) * 7 + (-1.0,) * 5)).passed
    few = gates.learned(POLICY, gates.Learned(pairs=(1.0,) * 7))
    assert not few.passed
    assert "too few" in few.sentence
    assert not gates.learned(POLICY, gates.Learned(pairs=(0.0,) * 30)).passed


def test_learned_fails_when_one_kind_of_feedback_speaks_against() -> None:
    seen = gates.Learned(pairs=(1.0,) * 20, ups=tuple(range(20)), downs=tuple(range(20, 40)))
    result = gates.learned(POLICY, seen)
    assert not result.passed
    assert "thumbs 0.0%" in result.sentence


def test_learned_rejects_random_thumbs_about_as_often_as_its_level_says() -> None:
    rng, passed = random.Random(5), 0
    for _ in range(1000):
        margins = [rng.gauss(0, 5) for _ in range(40)]
        passed += gates.learned(POLICY, gates.Learned(ups=tuple(margins[:25]), downs=tuple(margins[25:]))).passed
    # Level 0.05; three standard errors of 1,000 trials above it.
    assert passed / 1000 <= 0.071


def test_retention_allows_a_small_rise_and_blocks_a_large_one() -> None:
    rng = random.Random(1)
    tokens = tuple(rng.randint(15, 40) for _ in range(200))
    base = tuple(3.0 * n + rng.gauss(0, 5) for n in tokens)

    def risen(by: float) -> gates.Retention:
        candidate = tuple(b + by * n + rng.gauss(0, 0.5) for b, n in zip(base, tokens, strict=True))
        return gates.Retention(tokens=tokens, base=base, champion=base, candidate=candidate)

    good = gates.retention(POLICY, risen(0.2 * POLICY.max_perplexity_rise))
    assert good.passed
    assert good.numbers["rise_upper"] > good.numbers["rise"]
    assert not gates.retention(POLICY, risen(1.5 * POLICY.max_perplexity_rise)).passed
    collapsed = gates.retention(POLICY, risen(2000.0))
    assert not collapsed.passed


def test_retention_fails_when_it_cannot_be_measured() -> None:
    few = gates.Retention(tokens=(10,) * 20, base=(30.0,) * 20, champion=(30.0,) * 20, candidate=(30.0,) * 20)
    assert "not measured" in gates.retention(POLICY, few).sentence
    broken = gates.Retention(
        tokens=(10,) * 200, base=(30.0,) * 200, champion=(30.0,) * 200, candidate=(float("nan"),) * 200
    )
    assert not gates.retention(POLICY, broken).passed


@pytest.mark.parametrize("kind", ["short", "repetitive", "unfinished"])
def test_degeneration_blocks_each_kind_of_collapse(kind: str) -> None:
    sound, collapsed = answers(), answers(**{kind: 30})
    result = gates.degeneration(POLICY, gates.Degeneration(base=sound, champion=sound, candidate=collapsed))
    assert not result.passed
    assert f"({kind})" in result.sentence


def test_degeneration_lets_lengths_move_between_champion_and_base() -> None:
    base, brief = answers(unfinished=90), answers(unfinished=5)
    assert gates.degeneration(POLICY, gates.Degeneration(base=base, champion=base, candidate=brief)).passed
    assert gates.degeneration(POLICY, gates.Degeneration(base=base, champion=brief, candidate=base)).passed


def test_degeneration_fails_on_too_few_prompts_and_says_what_it_could_see() -> None:
    few = answers(count=30)
    assert not gates.degeneration(POLICY, gates.Degeneration(base=few, champion=few, candidate=few)).passed
    enough = gates.degeneration(POLICY, gates.Degeneration(base=answers(), champion=answers(), candidate=answers()))
    assert enough.passed
    assert enough.smallest_harm is not None
    assert "96 prompts" in enough.smallest_harm


def test_parity_compares_with_both_bounds() -> None:
    assert gates.parity(POLICY, gates.Parity(positions=500, kl=0.01, top1=0.95)).passed
    assert not gates.parity(POLICY, gates.Parity(positions=500, kl=0.03, top1=0.95)).passed
    assert not gates.parity(POLICY, gates.Parity(positions=500, kl=0.01, top1=0.9)).passed
    assert not gates.parity(POLICY, gates.Parity(positions=5, kl=0.0, top1=1.0)).passed


def test_a_gate_without_a_result_counts_as_failed() -> None:
    assert gates.failed([gates.integrity(POLICY, GOOD)]) == ["learned", "retention", "degeneration", "parity"]


def test_exact_bounds_against_known_values() -> None:
    """Clopper-Pearson: 0 of 20 has the upper bound 1 - 0.05^(1/20); 8 of 10 the bounds 0.4931 and 0.9633 (5 % each)."""
    assert st.upper_rate(0, 20, 0.05) == pytest.approx(1 - 0.05 ** (1 / 20), abs=1e-9)
    assert st.lower_rate(8, 10, 0.05) == pytest.approx(0.4931, abs=1e-4)
    assert st.upper_rate(8, 10, 0.05) == pytest.approx(0.9633, abs=1e-4)


def test_auc_counts_ties_half() -> None:
    assert st.auc([1.0, 2.0], [0.0, 1.0]) == pytest.approx(3.5 / 4)
