"""Approval intervals and bins, against numbers known from elsewhere."""

import pytest

from pawl_cli.demo.measure import Visit, approval, bins


def visits(rewards: list[float | None]) -> list[Visit]:
    return [Visit(t, t + 1.0, "regular", "anything", reward, 40.0, frozenset()) for t, reward in enumerate(rewards)]


def test_wilson_interval_of_81_of_263() -> None:
    # Newcombe 1998, table I: 81/263 has the score interval 0.2553 to 0.3662
    found = approval(visits([1.0] * 81 + [0.0] * 182))
    assert (found.low, found.high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))


def test_ends_and_unrated_sessions() -> None:
    assert approval(visits([])).sessions == 0
    assert (approval([]).low, approval([]).high) == (0.0, 1.0)
    certain = approval(visits([1.0] * 20 + [None] * 5))
    assert (certain.point, certain.high, certain.sessions) == (1.0, 1.0, 20)
    assert 0.8 < certain.low < 0.9


def test_half_approved_sessions_count_by_their_mean() -> None:
    assert approval(visits([0.5] * 10)).point == 0.5


def test_bins_are_in_order_and_a_small_rest_is_left_out() -> None:
    found = bins(visits([1.0] * 10 + [0.0] * 10 + [1.0] * 3), 10)
    assert [each.approval.point for each in found] == [1.0, 0.0]
    assert found[0].time < found[1].time
    with pytest.raises(ValueError, match="at least one"):
        bins([], 0)
