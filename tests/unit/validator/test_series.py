"""The error budget over an endless series of canaries (e-LOND), by its own definition and by simulation."""

import random
from itertools import accumulate
from math import exp

import pytest

from pawl_validator.domain.series import Series, gamma


def test_the_shares_of_all_canaries_sum_to_at_most_one() -> None:
    sums = list(accumulate(gamma(number) for number in range(1, 20_001)))
    assert sums[-1] < 1
    assert sums[-1] > 0.9
    assert all(gamma(n) > gamma(n + 1) for n in range(1, 100))


def test_levels_fall_with_canaries_and_rise_with_promotions() -> None:
    first = Series()
    assert first.level(0.05, 0.01) == 0.01
    none = [Series(begun=n).level(0.05, 0.01) for n in range(1, 30)]
    assert none == sorted(none, reverse=True)
    assert Series(begun=9, promoted=5).level(0.05, 0.01) == pytest.approx(0.05 * gamma(10) * 6)
    assert first.begin().promote() == Series(begun=1, promoted=1)


@pytest.mark.parametrize("better", [0.0, 0.3])
def test_few_promotions_bring_nothing(better: float) -> None:
    """Theorem 1 of Xu and Ramdas: E[false promotions / promotions] <= alpha, here 0.2, whatever the share of nulls."""
    rates = []
    for seed in range(400):
        rng, series, false = random.Random(seed), Series(), 0
        for _ in range(60):
            real = rng.random() < better
            alpha, series = series.level(0.2, 1.0), series.begin()
            # a log-normal e-value of mean 1 under the null, and of a strong shift otherwise
            if exp(rng.gauss(4 if real else -2, 2)) >= 1 / alpha:
                series, false = series.promote(), false + (not real)
        rates.append(false / max(series.promoted, 1))
    assert sum(rates) / len(rates) <= 0.2
