"""The canary's guarantee and speed, by seeded simulation, beside the figures of the papers' own rates."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from math import comb, log
from statistics import fmean

import pytest
from pydantic import TypeAdapter

from pawl_validator.domain.blocks import ZERO, Pair, Side, Sides, Sign, block_of, evidence, take
from pawl_validator.domain.canary import Arm, CanaryPolicy, CanaryState, Decision, Observation, decide, step

START = datetime(2026, 1, 1, tzinfo=UTC)
SKETCH = "AB" * 16


def simulate(
    seed: int, champion: float, challenger: float, policy: CanaryPolicy, rated: tuple[float, float] = (1, 1)
) -> tuple[str, int]:
    """(action, rated sessions) of one canary with a look at every session."""
    rng, state = random.Random(seed), CanaryState()
    while True:
        arm = rng.random() < policy.share
        good = float(rng.random() < (challenger if arm else champion))
        reward = good if rng.random() < rated[arm] else None
        state, decision = step(policy, state, Observation(challenger=arm, reward=reward, time=START))
        if decision.action not in ("continue", "step"):
            return decision.action, state.champion.rated + state.challenger.rated


def share_of(action: str, outcomes: list[tuple[str, int]]) -> float:
    return sum(found == action for found, _ in outcomes) / len(outcomes)


@pytest.mark.parametrize(("share", "rate"), [(0.5, 0.7), (0.1, 0.7), (0.5, 0.2)])
def test_equal_arms_are_rarely_promoted_or_rolled_back(share: float, rate: float) -> None:
    policy = CanaryPolicy(share=share, limit_sessions=300)
    outcomes = [simulate(seed, rate, rate, policy) for seed in range(120)]
    # Bounds 0.01 and 0.05; 120 trials: three standard errors more are 0.037 and 0.11; benchmarks/canary.py has more.
    assert share_of("promote", outcomes) <= 0.037
    assert share_of("rollback", outcomes) <= 0.11


def test_blocks_keep_the_guarantee_when_the_arms_are_rated_at_different_rates() -> None:
    """One by one, this very setting gave 81 % false rollbacks."""
    policy = CanaryPolicy(share=0.1, steps=(), limit_sessions=500)
    outcomes = [simulate(seed, 0.2, 0.2, policy, rated=(0.5, 1.0)) for seed in range(80)]
    assert share_of("promote", outcomes) <= 0.044
    assert share_of("rollback", outcomes) <= 0.124


@pytest.mark.parametrize(("share", "expected"), [(0.5, 46), (0.1, 137)])
def test_a_clear_gain_is_promoted_after_few_sessions(share: float, expected: int) -> None:
    policy = CanaryPolicy(share=share, steps=(), limit_sessions=4000)
    outcomes = [simulate(seed, 0.21, 0.75, policy) for seed in range(40)]
    assert share_of("promote", outcomes) == 1
    assert fmean(n for _, n in outcomes) == pytest.approx(expected, rel=0.2)


def test_a_gain_of_ten_points_costs_at_most_1_3_times_the_bound() -> None:
    """Bound: ln(1 / alpha) / KL of the alternative to its projection on equal arms."""
    a, b = 0.8, 0.9
    null = (a + b) / 2
    kl = 0.5 * sum(p * log(p / null) + (1 - p) * log((1 - p) / (1 - null)) for p in (a, b))
    policy = CanaryPolicy(share=0.5)
    outcomes = [simulate(seed, a, b, policy) for seed in range(20)]
    assert share_of("promote", outcomes) == 1
    assert fmean(n for _, n in outcomes) <= 1.3 * log(100) / kl


def test_harm_is_rolled_back() -> None:
    outcomes = [simulate(seed, 0.8, 0.5, CanaryPolicy(share=0.5)) for seed in range(20)]
    assert share_of("rollback", outcomes) == 1


def test_evidence_moves_only_when_a_block_is_full() -> None:
    policy = CanaryPolicy(share=0.25)
    state = CanaryState()
    for index in range(5):
        state, _ = step(policy, state, Observation(challenger=False, reward=1.0, time=START))
        assert state.pair.above == ZERO, index
    state, _ = step(policy, state, Observation(challenger=True, reward=0.0, time=START))
    assert state.blocks == 1
    assert state.pair.champion == (1.0, 1.0)
    assert max(state.pair.above) < 0


@pytest.mark.parametrize(("share", "block"), [(0.5, (1, 1)), (0.1, (9, 1)), (0.9, (1, 9)), (0.001, (99, 1))])
def test_blocks_follow_the_share(share: float, block: tuple[int, int]) -> None:
    assert block_of(share) == block


def test_an_arm_that_is_ahead_waits_for_twenty_blocks_and_no_longer() -> None:
    state = CanaryState()
    for _ in range(500):
        state, _ = step(CanaryPolicy(share=0.1), state, Observation(challenger=False, reward=1.0, time=START))
    assert len(state.pair.champion) == 20 * 9
    assert state.champion.rated == 500


def test_a_challenger_that_is_rated_half_as_often_while_rates_rise_is_not_promoted() -> None:
    """Without a limit of what waits, its sessions would be compared with ever older ones of the champion."""
    promoted = 0
    for seed in range(20):
        rng, state, policy = random.Random(seed), CanaryState(), CanaryPolicy(share=0.5, limit_sessions=1500)
        for number in itertools.count():
            arm, rate = rng.random() < 0.5, 0.5 + 0.4 * number / 2000
            reward = float(rng.random() < rate) if not arm or rng.random() < 0.5 else None
            state, decision = step(policy, state, Observation(arm, reward, START))
            if decision.action not in ("continue", "step"):
                promoted += decision.action == "promote"
                break
    assert promoted <= 2


@pytest.mark.parametrize("shift", [-0.05, 0.0, 0.05])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("block", [(1, 1), (9, 1), (1, 3)])
def test_no_pair_of_rates_of_the_null_makes_a_block_gain(shift: float, sign: Sign, block: tuple[int, int]) -> None:
    """E S <= 1 on the whole null and S >= 0, over all outcomes of a block, near the goal and far from it."""
    side = Side(shift, 20.0)
    sides = Sides(side) if sign == 1 else Sides(None, side)
    starts = [(n, spent, logs) for logs in (ZERO, (2.9,) * 7) for n, spent in ((0, 0.0), (50, 5.0), (50, 43.0))]
    for n, spent, start in starts:
        for a, away in itertools.product((0.06, 0.5, 0.94), (0.0, 0.03, 0.2)):
            b = a + shift - sign * away
            if 0 <= b <= 1:
                known = Pair((), (), 0, n, spent, start, start)
                assert expected(sides, known, block, a, b) <= evidence(start) * (1 + 1e-9), (n, a, b)


def expected(sides: Sides, known: Pair, block: tuple[int, int], a: float, b: float) -> float:
    """The evidence after one block, over all its outcomes."""
    k, m = block
    total = 0.0
    for ours, theirs in itertools.product(range(k + 1), range(m + 1)):
        pair = known
        for arm, size, good in ((False, k, ours), (True, m, theirs)):
            for number in range(size):
                pair = take(sides, pair, block, arm, float(number < good))
        assert pair.blocks == 1
        chance = comb(k, ours) * a**ours * (1 - a) ** (k - ours) * comb(m, theirs) * b**theirs * (1 - b) ** (m - theirs)
        total += chance * evidence(pair.above if sides.above else pair.below)
    return total


def test_a_block_that_is_won_leads_to_the_threshold_and_not_beyond() -> None:
    start = (log(80.0),) * len(ZERO)
    won = take(Sides(Side(0.0, 100.0)), Pair((0.0,), (), 0, 0, 0.0, start, ZERO), (1, 1), True, 1.0)
    assert evidence(won.above) == pytest.approx(100)
    assert evidence(won.above) >= 100
    far = take(Sides(Side(0.0, 1e6)), Pair((0.0,), (), 0, 0, 0.0, start, ZERO), (1, 1), True, 1.0)
    assert evidence(far.above) > 110


def test_an_arm_that_is_ahead_gives_more_to_each_block() -> None:
    sides, pair = Sides(Side(0.0, 100.0)), Pair(challenger=(1.0,) * 20)
    pair = take(sides, pair, (1, 1), False, 0.0)
    assert len(pair.challenger) == 20 - 1 - 19 // 8
    assert pair.champion == ()
    assert pair.above > take(sides, Pair(challenger=(1.0,)), (1, 1), False, 0.0).above


def test_what_is_not_worse_is_promoted_where_that_is_wanted() -> None:
    policy = CanaryPolicy(share=0.5, margin=0.1, min_sessions=300)
    outcomes = [simulate(seed, 0.7, 0.7, policy) for seed in range(10)]
    assert share_of("promote", outcomes) == 1
    assert all(n >= 300 for _, n in outcomes)
    worse = [simulate(seed, 0.7, 0.6, CanaryPolicy(share=0.5, margin=0.1, limit_sessions=300)) for seed in range(60)]
    assert share_of("promote", worse) <= 0.05


def test_the_share_goes_up_in_steps_while_nothing_speaks_against_it() -> None:
    policy, state, shares = CanaryPolicy(share=0.1, step_sessions=50), CanaryState(), []
    for number in range(150):
        arm = number % 10 < 10 * policy.shares[state.stage]
        state, decision = step(policy, state, Observation(arm, float(number % 3 > 0), START))
        if decision.action == "step":
            shares.append((number + 1, decision.share))
    assert shares == [(91, 0.25), (141, 0.5)]  # the tenth session of the challenger is the 91st of all
    assert CanaryPolicy(share=0.4, steps=(0.25, 0.5)).shares == (0.4, 0.5)


def test_the_share_does_not_go_up_against_evidence_of_harm() -> None:
    policy, state = CanaryPolicy(share=0.1, step_sessions=50, alpha_rollback=1e-12), CanaryState()
    for number in range(110):
        arm = number % 10 == 0
        state, decision = step(policy, state, Observation(arm, float(not arm), START))
        assert decision.action == "continue"
    assert state.stage == 0


def test_unrated_sessions_are_counted_and_are_no_evidence() -> None:
    policy, state = CanaryPolicy(share=0.5), CanaryState()
    for challenger in (True, False) * 5:
        state, decision = step(policy, state, Observation(challenger=challenger, reward=None, time=START))
    assert state.blocks == 0
    assert decision.challenger == Arm(sessions=5)
    assert decision.reasons[1] == "challenger: 5 sessions, none rated"


def test_an_undecided_canary_ends_at_its_limits() -> None:
    policy = CanaryPolicy(share=0.5, limit_sessions=3, limit_hours=2)
    state = CanaryState(champion=Arm(sessions=2, rated=2), challenger=Arm(sessions=1, rated=1))
    assert decide(policy, state, START).action == "timeout"
    late = decide(policy, CanaryState(started=START), START + timedelta(hours=2))
    assert late.action == "timeout"
    assert "2 hours" in late.reasons[0]


def test_the_state_survives_json_and_decides_the_same() -> None:
    policy, rng, state = CanaryPolicy(share=0.5), random.Random(3), CanaryState()
    stored = TypeAdapter(CanaryState)
    copied, decisions = state, list[tuple[Decision, Decision]]()
    for _ in range(80):
        arm = rng.random() < 0.5
        seen = Observation(
            arm, float(rng.random() < (0.9 if arm else 0.3)), START, {"empty": 0.0, "seconds": 1.0}, SKETCH
        )
        state, one = step(policy, state, seen)
        copied, other = step(policy, stored.validate_json(stored.dump_json(copied)), seen)
        decisions.append((one, other))
    assert all(one == other for one, other in decisions)
    assert decisions[-1][0].action == "promote"
    assert "evidence" in decisions[-1][0].reasons[0]


def test_a_state_of_an_earlier_version_begins_anew() -> None:
    old = {"champion": {"sessions": 3, "rated": 1, "reward": 1.0}, "waiting_champion": [1.0], "better": [0.0] * 7}
    state = TypeAdapter(CanaryState).validate_python(old)
    assert (state.champion.sessions, state.blocks) == (3, 0)


@pytest.mark.parametrize("reward", [-0.1, 1.1, float("nan")])
def test_a_reward_outside_its_range_is_refused(reward: float) -> None:
    with pytest.raises(ValueError, match="reward"):
        step(CanaryPolicy(), CanaryState(), Observation(challenger=True, reward=reward, time=START))


def test_an_interval_of_graded_rewards_is_rounded_outwards() -> None:
    whole, graded = Arm(10, 10, 5.0), Arm(10, 10, 5.4)
    low, high = whole.interval
    assert (round(low, 4), round(high, 4)) == (0.1871, 0.8129)  # Clopper and Pearson's 5 of 10
    assert Arm(10, 10, 5.0 - 1e-12).interval == whole.interval
    assert graded.interval == (low, Arm(10, 10, 6.0).interval[1])
    assert Arm().interval == (0.0, 1.0)
