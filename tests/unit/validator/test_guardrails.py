"""Guardrails: harm trips the right one, overall and in a slice; no harm trips none; their level is shared."""

import random
from base64 import b64encode
from datetime import UTC, datetime

import pytest

from pawl_shared.prompt_slices import SLICES, slice_of
from pawl_validator.domain.canary import CanaryPolicy, CanaryState, Decision, Observation, step
from pawl_validator.domain.guardrails import BAD, Guards, watch, worst

START = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = CanaryPolicy(share=0.5, limit_sessions=4000)


def sketch(first: int, second: int) -> str:
    return b64encode(bytes([first & 0xFF, second & 0xFF]) + bytes(22)).decode()


PLACES = [sketch(5, 5), sketch(5, -5), sketch(-5, 5), sketch(-5, -5)]


def usual(rng: random.Random) -> dict[str, float]:
    return {
        "empty": float(rng.random() < 0.01), "cut": float(rng.random() < 0.1), "repetition": rng.betavariate(1, 20),
        "seconds": rng.lognormvariate(0, 0.5),
    }  # fmt: skip


def run(seed: int, harm: dict[str, float], slice_only: str = "", sessions: int = 1500) -> tuple[int, Decision]:
    """Nobody rates, so that guardrails alone decide."""
    rng, state = random.Random(seed), CanaryState()
    for number in range(sessions):
        challenger, place = rng.random() < 0.5, rng.choice(PLACES)
        statistics = usual(rng)
        if challenger and (not slice_only or slice_of(place) == slice_only) and rng.random() < 0.3:
            statistics |= harm
        state, decision = step(POLICY, state, Observation(challenger, None, START, statistics, place))
        if decision.action == "rollback":
            return number, decision
    return sessions, decision


@pytest.mark.parametrize(
    ("harm", "name"),
    [({"empty": 1.0}, "empty"), ({"cut": 1.0}, "cut"), ({"repetition": 1.0}, "repetition"), ({"seconds": 9.0}, "slow")],
)
def test_harm_trips_its_guardrail(harm: dict[str, float], name: str) -> None:
    number, decision = run(1, harm)
    assert number < 800
    assert decision.guard is not None
    assert decision.guard.name.startswith(name)
    assert decision.reasons[0].startswith("more ")


def test_harm_in_one_slice_trips_the_guardrail_of_that_slice() -> None:
    number, decision = run(2, {"cut": 1.0}, "C", 3000)
    assert number < 3000
    assert decision.guard is not None
    assert decision.guard.name == "cut in C"
    assert "in slice C" in decision.reasons[0]


def test_without_harm_none_trips() -> None:
    """P <= 0.01 for a whole canary."""
    assert [run(seed, {}, sessions=1000)[1].action for seed in range(4)] == ["continue"] * 4


def test_dislikes_in_a_slice_are_guarded() -> None:
    rng, guards = random.Random(3), Guards()
    for _ in range(1200):
        challenger = rng.random() < 0.5
        guards = watch(
            guards, 0.05, 0.01, (1, 1), challenger, float(rng.random() > 0.2 + 0.5 * challenger), {}, PLACES[0]
        )
    found = worst(guards, 0.01)
    assert found is not None
    assert found.name == "disliked in A"
    assert found.evidence > found.threshold


def test_the_guardrails_share_their_level() -> None:
    guards = watch(Guards(), 0.05, 0.01, (1, 1), True, 1.0, {"empty": 0.0, "cut": 0.0, "repetition": 0.0}, PLACES[1])
    assert {name for name, _ in guards.pairs} == {
        "empty", "cut", "repetition", "disliked in B", "empty in B", "cut in B", "repetition in B",
    }  # fmt: skip
    overall, sliced = len(BAD), len(SLICES) * (len(BAD) + 1)
    levels = {}
    for name, pair in guards.pairs:
        found = worst(Guards(pairs=((name, pair),)), 0.01)
        assert found is not None
        levels[" in " in name] = 1 / found.threshold
    assert overall * levels[False] + sliced * levels[True] == pytest.approx(0.01)


def test_slices_are_quadrants_and_no_sketch_is_none() -> None:
    assert [slice_of(place) for place in PLACES] == list(SLICES)
    assert slice_of("") is None
    assert worst(Guards(), 0.01) is None
