"""The approval detector on seeded streams, beside the figures of its simulation (shared with benchmarks/drift.py)."""

import math
import random
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter

from pawl_monitor.domain.approval import ApprovalPolicy, ApprovalState, Half
from pawl_monitor.domain.detectors import (
    SHIFTS,
    WEIGHTS,
    Budget,
    Change,
    Decision,
    Observation,
    evidence_of,
    increments,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
STATE = TypeAdapter(ApprovalState)


def observation(number: int, reward: float, seed: int = 0) -> Observation:
    return Observation(f"{seed}/{number}", reward, START + timedelta(seconds=number))


def step(policy: ApprovalPolicy, state: ApprovalState, seen: Observation) -> tuple[ApprovalState, Decision]:
    state, decision = policy.step(state, seen)
    assert decision is not None
    return state, decision


def first_alarm(policy: ApprovalPolicy, before: float, after: float, change: int, seed: int) -> tuple[int, Change]:
    rng, state, number = random.Random(seed), ApprovalState(), 0
    while True:
        reward = float(rng.random() < (before if number < change else after))
        state, decision = step(policy, state, observation(number, reward, seed))
        number += 1
        if decision.change is not None:
            return number, decision.change


@pytest.mark.parametrize(
    ("before", "after", "change", "limit"),
    [
        (0.8, 0.6, 1000, 140),  # 99 in the simulation after 5,000 sessions; ln(1e5)/KL is 110
        (0.75, 0.21, 250, 40),  # the demo's drop, right after the reference
        (0.75, 0.21, 1000, 30),
    ],
)
def test_a_drop_is_seen_quickly_and_explained(before: float, after: float, change: int, limit: int) -> None:
    found = [first_alarm(ApprovalPolicy(), before, after, change, seed) for seed in range(12)]
    assert [alarm.direction for _, alarm in found] == ["drop"] * len(found)
    delays = [number - change for number, _ in found]
    assert all(delay > 0 for delay in delays)
    assert sum(delays) / len(delays) < limit
    for _, alarm in found:
        assert alarm.after.high < alarm.before.low
        assert alarm.before.low < before < alarm.before.high + 0.05
        assert alarm.evidence >= alarm.threshold
    misses = [abs((alarm.since - START).total_seconds() - change) for _, alarm in found]
    assert sum(misses) / len(misses) < 25  # sessions between the true and the estimated change


def test_a_rise_is_seen_and_told_apart() -> None:
    number, alarm = first_alarm(ApprovalPolicy(), 0.5, 0.9, 500, 3)
    assert (alarm.direction, number > 500) == ("rise", True)
    assert alarm.after.low > alarm.before.high


@pytest.mark.parametrize("rate", [0.6, 0.8, 0.9])
def test_false_alarms_are_rare(rate: float) -> None:
    """The guarantee: at most alpha a session, drops and rises together. At alpha = 2e-3, 40,000 expect at most 80."""
    policy = ApprovalPolicy(alpha=2e-3)
    rng, state, alarms = random.Random(int(rate * 100)), ApprovalState(), 0
    for number in range(40_000):
        state, decision = step(policy, state, observation(number, float(rng.random() < rate)))
        if decision.change is not None:
            alarms, state = alarms + 1, ApprovalState()
    assert alarms <= 80


def test_no_alarm_in_a_long_stable_stream() -> None:
    rng, state = random.Random(5), ApprovalState()
    for number in range(30_000):
        state, decision = step(ApprovalPolicy(), state, observation(number, float(rng.random() < 0.8)))
        assert decision.verdict in ("learning", "stable")


def test_session_means_are_seen_by_both_halves() -> None:
    """On plain means the conformal half never fires; randomised rounding keeps its power (20 of 20 simulated)."""
    rng, state, policy = random.Random(2), ApprovalState(), ApprovalPolicy()
    alarms: dict[Half, int] = {}
    for number in range(1500):
        mean = sum(rng.random() < (0.8 if number < 1000 else 0.4) for _ in range(3)) / 3
        state, _ = step(policy, state, observation(number, mean))
        halves: dict[Half, float] = {
            "bound": evidence_of(state.bound[0].m),
            "conformal": evidence_of(state.conformal[0].m),
        }
        for half in (half for half, evidence in halves.items() if evidence >= policy.threshold("drop", half)):
            alarms.setdefault(half, number)
    assert alarms.keys() == {"bound", "conformal"}
    assert all(1000 < number < 1100 for number in alarms.values())


def test_state_through_json_gives_the_same_alarm() -> None:
    rng, policy = random.Random(7), ApprovalPolicy(n0=100)
    kept = resumed = ApprovalState()
    for number in range(400):
        seen = observation(number, float(rng.random() < (0.8 if number < 300 else 0.2)))
        kept, expected = step(policy, kept, seen)
        resumed, decision = step(policy, STATE.validate_json(STATE.dump_json(resumed)), seen)
        assert (resumed, decision) == (kept, expected)
        if expected.change is not None:
            return
    pytest.fail("no alarm")


def test_the_reference_bound_is_a_running_maximum() -> None:
    rng, state, bounds = random.Random(1), ApprovalState(), []
    for number in range(3000):
        state, _ = step(ApprovalPolicy(), state, observation(number, float(rng.random() < 0.8)))
        bounds.append(state.bound[0].q)
    assert bounds == sorted(bounds)
    assert bounds[249] > 0.7
    assert bounds[-1] < 0.8


@pytest.mark.parametrize("q", [0.05, 0.5, 0.8, 0.99])
def test_increments_have_mean_one_at_the_boundary_and_less_above(q: float) -> None:
    for one, zero in zip(*increments(q), strict=True):
        assert q * one + (1 - q) * zero == pytest.approx(1)
        assert one < 1 < zero
    assert len(increments(q)[0]) == len(SHIFTS) == len(WEIGHTS)
    assert sum(WEIGHTS) == pytest.approx(1)


def test_references_of_a_model_never_spend_more_than_its_delta() -> None:
    budget, policy = Budget(delta=0.1), ApprovalPolicy(delta=0.1)
    parts = [policy.begin(number).delta for number in range(1, 200)]
    assert parts == pytest.approx([budget.of_reference(number) for number in range(1, 200)])
    assert sum(parts) == pytest.approx(budget.spent(199))
    assert budget.spent(10**9) <= budget.delta


def test_a_late_reference_is_more_careful() -> None:
    bounds = []
    for number in (1, 20):
        rng, state = random.Random(3), ApprovalPolicy().begin(number)
        for i in range(250):
            state, _ = ApprovalPolicy().step(state, observation(i, float(rng.random() < 0.8)))
        bounds.append(state.bound[0].q)
    assert bounds[1] < bounds[0] - 0.01


def test_with_a_tolerance_a_daily_cycle_raises_no_alarm() -> None:
    """Amplitude 5 points, 2,000 sessions a day: without a tolerance some 25 alarms in 100,000 sessions; with it 0.2."""
    alarms = {0.0: 0, 0.05: 0}
    for tolerance in alarms:
        policy, state, rng = ApprovalPolicy(tolerance=tolerance), ApprovalState(), random.Random(4)
        for number in range(10_000):
            rate = 0.9 + 0.05 * math.sin(2 * math.pi * number / 2000)
            state, decision = step(policy, state, observation(number, float(rng.random() < rate)))
            if decision.change is not None:
                alarms[tolerance], state = alarms[tolerance] + 1, ApprovalState()
    assert alarms[0.05] == 0 < alarms[0.0]


def test_an_unrated_session_says_nothing() -> None:
    assert ApprovalPolicy().step(ApprovalState(), Observation("s", None, START)) == (ApprovalState(), None)


def test_a_reward_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="must lie in"):
        ApprovalPolicy().step(ApprovalState(), observation(0, 1.5))
