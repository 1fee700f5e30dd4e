"""Clopper-Pearson limits against published values and their definition."""

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl_monitor.domain.intervals import estimate, lower_limit


def test_published_values() -> None:
    found = estimate(8, 10)
    assert found is not None
    assert (round(found.low, 4), round(found.high, 4)) == (0.4439, 0.9748)
    nothing = estimate(0, 10)
    assert nothing is not None
    assert (nothing.low, round(nothing.high, 4)) == (0.0, 0.3085)
    assert estimate(0, 0) is None


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))), st.sampled_from([0.025, 0.1]))
def test_the_tail_at_the_limit_is_delta(counts: tuple[int, int], delta: float) -> None:
    k, n = counts
    p = lower_limit(k, n, delta)
    tail = sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))
    assert tail == pytest.approx(delta, rel=1e-6)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.floats(0, n), st.just(n))))
def test_the_interval_holds_the_point(counts: tuple[float, int]) -> None:
    total, n = counts
    found = estimate(total, n)
    assert found is not None
    assert 0 <= found.low <= found.point <= found.high <= 1


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.3"):
        lower_limit(4, 3, 0.05)


def test_a_rounding_error_does_not_leave_the_range_of_rates() -> None:
    above, below = estimate(7.0 + 4e-15, 7), estimate(-4e-16, 7)
    assert above is not None
    assert below is not None
    assert (above.point, above.high, below.point, below.low) == (1.0, 1.0, 0.0, 0.0)
