"""Confidence sequences: looked at after every observation, they miss as rarely as they say."""

from math import sqrt
from random import Random

import pytest

from pawl_validator.domain.confidence import BETS, WEIGHTS, Mean, boundary

TRIALS, LENGTH, ALPHA = 60, 250, 0.05


def test_the_weights_are_a_distribution() -> None:
    assert len(BETS) == len(WEIGHTS)
    assert sum(WEIGHTS) == pytest.approx(1)
    assert all(0 < bet < 1 for bet in BETS)


def ever_missed(rng: Random, rate: float, drift: float = 0.0) -> tuple[bool, bool]:
    """Whether the sequence, and the fixed-sample interval of the same level, ever missed the mean so far."""
    mean, truth, ours, fixed = Mean(), 0.0, False, False
    for number in range(LENGTH):
        p = rate + drift * number / LENGTH
        truth += p
        mean = mean.add(float(rng.random() < p))
        wanted = truth / mean.n
        low, high = mean.interval(ALPHA)
        ours = ours or not low <= wanted <= high
        width = 1.96 * sqrt(max(mean.point * (1 - mean.point), 1e-9) / mean.n)
        fixed = fixed or (mean.n >= 30 and abs(mean.point - wanted) > width)
    return ours, fixed


@pytest.mark.parametrize(("rate", "drift"), [(0.5, 0.0), (0.9, 0.0), (0.3, 0.5)])
def test_it_covers_at_all_times_where_the_fixed_sample_interval_does_not(rate: float, drift: float) -> None:
    rng = Random(f"{rate} {drift}")
    missed = [ever_missed(rng, rate, drift) for _ in range(TRIALS)]
    # 9 of 60 would be more than three standard errors above alpha.
    assert sum(ours for ours, _ in missed) <= 8
    assert sum(fixed for _, fixed in missed) > 8


def test_it_shrinks_as_the_page_says() -> None:
    for n, ratio in ((100, 2.25), (1_000, 1.85), (10_000, 1.75), (1_000_000, 1.9)):
        spread = 0.25 * n
        assert boundary(spread, ALPHA / 2) < ratio * 1.96 * sqrt(spread)


def test_without_observations_nothing_is_known() -> None:
    assert Mean().interval(ALPHA) == (0.0, 1.0)
    low, high = Mean().add(1.0).interval(ALPHA)
    assert (low, high) == (0.0, 1.0)


def test_values_between_are_as_good_as_thumbs() -> None:
    mean = Mean()
    for _ in range(500):
        mean = mean.add(0.6)
    low, high = mean.interval(ALPHA)
    assert low < 0.6 < high
    assert high - low < 0.04, "what does not vary is known soon: an empirical Bernstein bound"
