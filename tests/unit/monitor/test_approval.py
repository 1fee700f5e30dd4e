"""The approval detector on seeded streams, beside the figures of its simulation (shared with benchmarks/drift.py)."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter

from pawl_monitor.domain.approval import SHIFTS, ApprovalPolicy, ApprovalState, Change, Observation, increments

START = datetime(2026, 1, 1, tzinfo=UTC)
STATE = TypeAdapter(ApprovalState)


def observation(number: int, reward: float, seed: int = 0) -> Observation:
    return Observation(f"{seed}/{number}", reward, START + timedelta(seconds=number))


def first_alarm(policy: ApprovalPolicy, before: float, after: float, change: int, seed: int) -> tuple[int, Change]:
    rng, state, number = random.Random(seed), ApprovalState(), 0
    while True:
        reward = float(rng.random() < (before if number < change else after))
        state, decision = policy.step(state, observation(number, reward, seed))
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
    """The guarantee: at most alpha a session and direction. At alpha = 1e-3, 40,000 sessions expect at most 80."""
    policy = ApprovalPolicy(alpha=1e-3)
    rng, state, alarms = random.Random(int(rate * 100)), ApprovalState(), 0
    for number in range(40_000):
        state, decision = policy.step(state, observation(number, float(rng.random() < rate)))
        if decision.change is not None:
            alarms, state = alarms + 1, ApprovalState()
    assert alarms <= 80


def test_no_alarm_in_a_long_stable_stream() -> None:
    rng, state = random.Random(5), ApprovalState()
    for number in range(30_000):
        state, decision = ApprovalPolicy().step(state, observation(number, float(rng.random() < 0.8)))
        assert decision.verdict in ("learning", "stable")


def test_session_means_are_seen_by_both_halves() -> None:
    """On plain means the conformal half never fires; randomised rounding keeps its power (20 of 20 simulated)."""
    rng, state, policy = random.Random(2), ApprovalState(), ApprovalPolicy()
    alarms: dict[str, int] = {}
    for number in range(1500):
        mean = sum(rng.random() < (0.8 if number < 1000 else 0.4) for _ in range(3)) / 3
        state, _ = policy.step(state, observation(number, mean))
        halves = {"bound": sum(state.bound[0].m), "conformal": sum(state.conformal[0].m)}
        for half in (half for half, evidence in halves.items() if evidence >= policy.threshold):
            alarms.setdefault(half, number)
    assert alarms.keys() == {"bound", "conformal"}
    assert all(1000 < number < 1100 for number in alarms.values())


def test_state_through_json_gives_the_same_alarm() -> None:
    rng, policy = random.Random(7), ApprovalPolicy(n0=100)
    kept = resumed = ApprovalState()
    for number in range(400):
        seen = observation(number, float(rng.random() < (0.8 if number < 300 else 0.2)))
        kept, expected = policy.step(kept, seen)
        resumed, decision = policy.step(STATE.validate_json(STATE.dump_json(resumed)), seen)
        assert (resumed, decision) == (kept, expected)
        if expected.change is not None:
            return
    pytest.fail("no alarm")


def test_the_reference_bound_is_a_running_maximum() -> None:
    rng, state, bounds = random.Random(1), ApprovalState(), []
    for number in range(3000):
        state, _ = ApprovalPolicy().step(state, observation(number, float(rng.random() < 0.8)))
        bounds.append(state.bound[0].q)
    assert bounds == sorted(bounds)
    assert bounds[249] > 0.7
    assert bounds[-1] < 0.8


@pytest.mark.parametrize("q", [0.05, 0.5, 0.8, 0.99])
def test_increments_have_mean_one_at_the_boundary_and_less_above(q: float) -> None:
    for one, zero in increments(q):
        assert q * one + (1 - q) * zero == pytest.approx(1)
        assert one < 1 < zero
    assert len(increments(q)) == len(SHIFTS)


def test_a_reward_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="must lie in"):
        ApprovalPolicy().step(ApprovalState(), observation(0, 1.5))
