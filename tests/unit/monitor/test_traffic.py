"""The detector of what people ask, on sketches: other prompts are seen, the same ones are not, replay agrees."""

import random
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import pytest
from pydantic import TypeAdapter

from pawl_monitor.domain.detectors import Change, Observation
from pawl_monitor.domain.traffic import TrafficPolicy, TrafficState, numbers

START = datetime(2026, 1, 1, tzinfo=UTC)
STATE = TypeAdapter(TrafficState)


def sketch(rng: random.Random, moved: int = 0) -> str:
    """24 numbers of standard deviation 50; the first 8 of them moved."""
    numbers = [max(-127, min(127, round(rng.gauss(moved if place < 8 else 0, 50)))) for place in range(24)]
    return b64encode(bytes(number & 0xFF for number in numbers)).decode()


def observation(number: int, prompt: str, seed: int = 0) -> Observation:
    example = str(uuid5(UUID(int=0), str(number)))
    return Observation(f"{seed}/{number}", None, START + timedelta(seconds=number), {}, prompt, example)


def first_alarm(policy: TrafficPolicy, moved: int, change: int, most: int, seed: int = 0) -> tuple[int, Change] | None:
    rng, state = random.Random(seed), policy.begin(1)
    for number in range(most):
        prompt = sketch(rng, moved if number >= change else 0)
        state, decision = policy.step(state, observation(number, prompt, seed))
        if decision is not None and decision.change is not None:
            return number, decision.change
    return None


@pytest.mark.parametrize(("moved", "limit"), [(60, 400), (30, 700)])
def test_other_prompts_are_seen_and_explained(moved: int, limit: int) -> None:
    for seed in range(2):
        found = first_alarm(TrafficPolicy(), moved, 1500, 3500, seed)
        assert found is not None
        number, change = found
        assert 1500 < number < 1500 + limit
        assert change.detector in ("traffic/latest", "traffic/recent", "traffic/spread")
        assert change.direction == "drift"
        assert abs((change.since - START).total_seconds() - 1500) <= 2 * 256
        assert change.before.point == pytest.approx(0.1)
        assert change.after.low > change.before.high
        assert change.examples


def test_the_same_prompts_raise_no_alarm() -> None:
    assert first_alarm(TrafficPolicy(), 0, 0, 3000) is None


def test_false_alarms_keep_to_alpha() -> None:
    """Three witnesses that share alpha = 4e-3: at most 32 alarms in 8,000 exchangeable sessions, on average."""
    policy, rng, alarms = TrafficPolicy(4e-3, 200, 200, 64), random.Random(5), 0
    state = policy.begin(1)
    for number in range(8_000):
        state, decision = policy.step(state, observation(number, sketch(rng)))
        if decision is not None and decision.change is not None:
            state, alarms = policy.begin(2), alarms + 1
    assert alarms <= 32


def test_state_through_json_gives_the_same_decisions() -> None:
    policy, rng = TrafficPolicy(1e-3, 20, 20, 16), random.Random(2)
    kept = resumed = policy.begin(1)
    for number in range(120):
        seen = observation(number, sketch(rng, 20 * (number > 80)))
        kept, expected = policy.step(kept, seen)
        resumed, decision = policy.step(STATE.validate_json(STATE.dump_json(resumed)), seen)
        assert (resumed, decision) == (kept, expected)


def test_the_state_is_compact() -> None:
    """Some 16 KB of sketches and 3 numbers for each session of a block, however long the stream."""
    rng, policy = random.Random(1), TrafficPolicy()
    state = policy.begin(1)
    for number in range(2500):
        state, _ = policy.step(state, observation(number, sketch(rng)))
    assert len(STATE.dump_json(state)) < 25_000


def test_a_session_without_a_sketch_says_nothing() -> None:
    assert TrafficPolicy().step(TrafficState(), observation(0, "")) == (TrafficState(), None)


def test_a_sketch_is_bytes_in_base64() -> None:
    assert numbers(b64encode(bytes([0, 1, 127, 129, 255, 3])).decode()) == (0, 1, 127, -127, -1, 3)
