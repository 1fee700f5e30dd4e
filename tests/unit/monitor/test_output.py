"""The detector of what the model answers: it sees each kind of change, explains it, and is quiet without one."""

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import pytest
from pydantic import TypeAdapter

from pawl_monitor.domain.detectors import Change, Observation
from pawl_monitor.domain.output import OutputPolicy, OutputState

START = datetime(2026, 1, 1, tzinfo=UTC)
STATE = TypeAdapter(OutputState)
Draw = Callable[[random.Random], Mapping[str, float]]


def usual(rng: random.Random) -> dict[str, float]:
    return {
        "words": round(rng.lognormvariate(3, 0.5)),
        "seconds": rng.lognormvariate(0, 0.4),
        "empty": 0.0,
        "cut": float(rng.random() < 0.1),
        "repetition": rng.betavariate(1, 30),
    }


def observation(number: int, statistics: Mapping[str, float]) -> Observation:
    example = str(uuid5(UUID(int=0), str(number)))
    return Observation(f"s{number}", None, START + timedelta(seconds=number), statistics, "", example)


def first_alarm(later: Draw, change: int = 1500, most: int = 2500, seed: int = 0) -> tuple[int, Change] | None:
    policy, rng = OutputPolicy(), random.Random(seed)
    state = policy.begin(1)
    for number in range(most):
        state, decision = policy.step(state, observation(number, (usual if number < change else later)(rng)))
        if decision is not None and decision.change is not None:
            return number, decision.change
    return None


@pytest.mark.parametrize(
    ("changed", "detector", "direction", "limit"),
    [
        (lambda rng: {"words": round(rng.lognormvariate(3.7, 0.5))}, "output/words", "rise", 120),
        (lambda rng: {"words": round(rng.lognormvariate(2.3, 0.5))}, "output/words", "drop", 120),
        (lambda rng: {"seconds": rng.lognormvariate(0.7, 0.4)}, "output/seconds", "rise", 60),
        (lambda rng: {"empty": float(rng.random() < 0.2)}, "output/empty", "rise", 80),
        (lambda rng: {"cut": float(rng.random() < 0.5)}, "output/cut", "rise", 80),
        (lambda rng: {"repetition": rng.betavariate(3, 5)}, "output/repetition", "rise", 80),
    ],
)
def test_each_kind_of_change_is_seen_and_explained(changed: Draw, detector: str, direction: str, limit: int) -> None:
    found = first_alarm(lambda rng: {**usual(rng), **changed(rng)})
    assert found is not None
    number, change = found
    assert (change.detector, change.direction) == (detector, direction)
    assert 1500 < number < 1500 + limit
    assert abs((change.since - START).total_seconds() - 1500) < 120
    assert change.evidence >= change.threshold
    assert (change.after.low > change.before.high) == (direction == "rise")
    assert str(uuid5(UUID(int=0), str(number))) in change.examples


def test_a_change_of_nothing_raises_no_alarm() -> None:
    assert [first_alarm(usual, most=4000, seed=seed) for seed in range(2)] == [None] * 2


def test_false_alarms_keep_to_alpha() -> None:
    """Six bets that share alpha = 2e-3: at most 20 alarms in 10,000 exchangeable sessions, on average."""
    policy, rng, alarms = OutputPolicy(alpha=2e-3), random.Random(8), 0
    state = policy.begin(1)
    for number in range(10_000):
        state, decision = policy.step(state, observation(number, usual(rng)))
        if decision is not None and decision.change is not None:
            state, alarms = policy.begin(2), alarms + 1
    assert alarms <= 20


def test_a_statistic_that_comes_later_is_learnt_then() -> None:
    policy = OutputPolicy(n0=3)
    state = policy.begin(1)
    for number in range(4):
        state, _ = policy.step(state, observation(number, {"words": float(number)}))
    state, _ = policy.step(state, observation(4, {"words": 1.0, "empty": 0.0}))
    assert {gauge.name: bool(gauge.lanes) for gauge in state.gauges} == {"words": True, "empty": False}


def test_state_through_json_gives_the_same_decisions() -> None:
    policy, rng = OutputPolicy(n0=20), random.Random(2)
    kept = resumed = policy.begin(1)
    for number in range(60):
        seen = observation(number, usual(rng))
        kept, expected = policy.step(kept, seen)
        resumed, decision = policy.step(STATE.validate_json(STATE.dump_json(resumed)), seen)
        assert (resumed, decision) == (kept, expected)
