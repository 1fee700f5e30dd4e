"""What is said of an experiment's arms."""

from random import Random

import pytest

from pawl_validator.domain.blocks import LAG
from pawl_validator.domain.comparison import Comparison, Seen, begin, block, mismatch, report, take

NAMES = ("plain", "kind", "short")


def run(
    shares: tuple[float, ...], approval: tuple[float, ...], rated: tuple[float, ...], sessions: int, seed: int = 1
) -> Comparison:
    rng, state = Random(seed), begin(len(shares))
    for _ in range(sessions):
        (arm,) = rng.choices(range(len(shares)), shares)
        reward = float(rng.random() < approval[arm]) if rng.random() < rated[arm] else None
        state = take(shares, state, Seen(arm, reward, {"words": 10.0 * (arm + 1)}))
    return state


def test_a_better_arm_is_told_from_the_control_and_an_equal_one_is_not() -> None:
    shares = (0.4, 0.3, 0.3)
    state = run(shares, (0.5, 0.7, 0.5), (0.5, 0.5, 0.5), 4000)
    found = report(NAMES, shares, state, 0.05)
    kind, short = found.differences
    assert 0 < kind.low < 0.2 < kind.high
    assert short.low < 0 < short.high
    assert state.sessions == 4000
    assert [means["words"] for means in found.means] == [10.0, 20.0, 30.0]
    assert found.warnings == ()


def test_arms_that_are_rated_at_different_rates_are_no_difference_but_a_warning() -> None:
    shares = (0.5, 0.5)
    state = run(shares, (0.6, 0.6), (0.2, 0.4), 6000)
    found = report(NAMES[:2], shares, state, 0.05)
    (gap,) = found.differences
    assert gap.low < 0 < gap.high
    assert "rate the arms at different rates (plain 1" in found.warnings[0] or "plain 2" in found.warnings[0]


def test_lost_sessions_are_seen() -> None:
    shares, rng, state = (0.5, 0.5), Random(1), begin(2)
    for _ in range(3000):
        arm = int(rng.random() < 0.5)
        if arm == 0 or rng.random() < 0.8:
            state = take(shares, state, Seen(arm, None))
    assert "instead of 50.0%" in report(NAMES[:2], shares, state, 0.05).warnings[0]
    assert mismatch(shares, (1000, 1000)) < 0 < mismatch(shares, (1000, 700))


def test_blocks_follow_the_shares_and_bound_what_waits() -> None:
    assert [block(*pair) for pair in ((0.5, 0.5), (0.9, 0.1), (0.1, 0.3), (0.98, 0.01))] == [
        (1, 1), (9, 1), (1, 3), (20, 1),
    ]  # fmt: skip
    state = begin(2)
    for _ in range(1000):
        state = take((0.9, 0.1), state, Seen(0, 1.0))
    assert len(state.differences[0].control) == 9 * LAG
    state = take((0.9, 0.1), state, Seen(1, 0.0))
    assert (state.differences[0].mean.n, state.differences[0].mean.total) == (1, 0.0)


def test_the_control_counts_for_every_arm_and_an_arm_for_itself() -> None:
    shares = (0.4, 0.3, 0.3)
    state = take(shares, take(shares, begin(3), Seen(0, 1.0)), Seen(2, 0.0))
    assert [difference.mean.n for difference in state.differences] == [0, 1]


def test_a_reward_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="must lie in"):
        take((0.5, 0.5), begin(2), Seen(0, 1.5))


def test_before_the_first_session_nothing_is_known() -> None:
    found = report(NAMES[:2], (0.5, 0.5), begin(2), 0.05)
    assert [(one.low, one.high) for one in found.approval] == [(0.0, 1.0)] * 2
    assert [(one.low, one.high) for one in found.differences] == [(-1.0, 1.0)]
    assert found.warnings == ()


def test_an_apps_metrics_of_any_name_and_value_end_no_report() -> None:
    state = begin(2)
    for number in range(100):
        state = take((0.5, 0.5), state, Seen(0, None, {f"metric/{number}": 1.0, "metric/0": 1.7e308}))
    (means, _) = report(NAMES[:2], (0.5, 0.5), state, 0.05).means
    assert len(means) == 40
    assert means["metric/0"] == 1.7e308
