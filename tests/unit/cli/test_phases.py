"""The demo's course as a fold: who decides what, and how runs end."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid5

import pytest

from pawl_cli.demo import phases
from pawl_cli.demo.measure import Visit
from pawl_cli.demo.phases import Fact, Plan, Rated, Ready, State
from pawl_cli.demo.report import judge, measure
from pawl_shared import events as e

BASE, ADAPTER, OTHER = "a" * 64, "b" * 64, "c" * 64
ROOT = UUID(int=7)
PLAN = Plan(before=3, after=2, control=5)


def event(cls: type[e.Event], name: str, **fields: object) -> e.Event:
    common = {"id": uuid5(ROOT, name), "time": datetime(2026, 1, 1, tzinfo=UTC), "source": "test", "model": "m"}
    return cls.model_validate({**common, **fields})


def interval(point: float) -> dict[str, float]:
    return {"point": point, "low": point, "high": point, "n": 10}


def alarm(direction: str = "drop") -> e.Event:
    return event(
        e.DriftDetected, "alarm", detector="approval", direction=direction, version=BASE,
        since=datetime(2026, 1, 1, tzinfo=UTC), before=interval(0.8), after=interval(0.2), sessions=9, evidence=1.0,
        threshold=1.0, sentence="It fell.",
    )  # fmt: skip


REQUEST = event(e.RetrainRequested, "request", dataset=OTHER, base=BASE)
TRAINED = event(
    e.AdapterTrained, "trained", run=ROOT, adapter=ADAPTER, base=BASE, dataset=OTHER, recipe="dpo", seed=0, seconds=1
)
REJECTED = event(e.CandidateRejected, "rejected", run=ROOT, adapter=ADAPTER, reasons=["learned: it did not"])


def deployment(change: str) -> e.Event:
    version = {"version": ADAPTER, "base": BASE, "graph": OTHER}
    return event(e.DeploymentChanged, change, revision=2, champion=version, change=change, canary=str(uuid5(ROOT, "c")))


def run(plan: Plan, facts: list[Fact]) -> tuple[State, list[dict[str, object]]]:
    state, orders = phases.begin(0.0), []
    for now, fact in enumerate(facts, 1):
        state, given = phases.step(plan, state, float(now), fact)
        orders += given
    return state, orders


ROUND: list[Fact] = [
    Ready(), *[Rated("regular")] * 3, alarm(), REQUEST, TRAINED, deployment("canary"), deployment("promoted"),
    *[Rated("unseen")] * 2,
]  # fmt: skip


def test_one_round_ends_with_a_promotion_and_enough_unseen_visits() -> None:
    state, orders = run(PLAN, ROUND)
    assert state.finished
    assert state.promoted
    assert [label for _, label in state.marks] == [
        "taste changes",
        "alarm",
        "training",
        "trained",
        "canary",
        "promotion",
    ]
    assert orders == [
        phases.BUSY, {"taste": "short"}, phases.QUIET, phases.BUSY, {**phases.BUSY, "audience": "unseen"},
    ]  # fmt: skip
    assert set(state.ids) == {"alarm", "run", "dataset", "adapter", "canary", "promotion"}


def test_phases_add_up_to_the_whole_time() -> None:
    state, _ = run(PLAN, ROUND)
    closed = phases.close(state, 20.0)
    assert sum(closed.seconds.values()) == 20.0
    assert set(closed.seconds) == set(phases.PHASES)


def test_after_a_rejection_it_goes_on_collecting_and_says_why_at_its_end() -> None:
    state, orders = run(PLAN, [*ROUND[:7], REJECTED])
    assert (state.phase, state.finished) == ("collect", False)
    assert orders[-1] == phases.BUSY
    outcome = judge(PLAN, state, measure(state, [], None))
    assert outcome.exit_code == 3
    assert "learned: it did not" in outcome.sentence
    again, _ = run(PLAN, [*ROUND[:7], REJECTED, *ROUND[5:]])
    assert again.promoted


def test_an_early_alarm_is_counted_and_does_not_move_the_phase() -> None:
    state, _ = run(PLAN, [Ready(), Rated("regular"), alarm()])
    assert (state.phase, state.early_alarms) == ("before", 1)


@pytest.mark.parametrize("detector", ["output/words", "traffic/latest"])
def test_news_of_other_detectors_is_no_alarm(detector: str) -> None:
    news = alarm().model_copy(update={"detector": detector})
    state, _ = run(PLAN, [*ROUND[:2], news])
    assert (state.phase, state.early_alarms) == ("before", 0)


def test_a_rise_is_no_alarm() -> None:
    state, _ = run(PLAN, [*ROUND[:4], alarm("rise")])
    assert state.phase == "detect"
    assert "alarm" not in state.ids


def test_the_control_without_a_shift_ends_by_itself_and_changes_nothing() -> None:
    plan = replace(PLAN, kind="no-shift")
    state, orders = run(plan, [Ready(), *[Rated("regular")] * 5])
    assert state.finished
    assert orders == [phases.BUSY]
    outcome = judge(plan, state, measure(state, [], None))
    assert (outcome.exit_code, outcome.expected) == (3, True)
    alarmed, _ = run(plan, [Ready(), alarm(), *[Rated("regular")] * 5])
    assert not judge(plan, alarmed, measure(alarmed, [], None)).expected


def test_the_control_with_bad_data_ends_at_the_first_refusal_and_fails_at_a_promotion() -> None:
    plan = replace(PLAN, kind="bad-data")
    refused, orders = run(plan, [*ROUND[:7], REJECTED])
    assert refused.finished
    assert {"taste": "random"} in orders
    assert judge(plan, refused, measure(refused, [], None)).expected
    idle, _ = run(plan, [*ROUND[:5], *[Rated("regular")] * plan.control])
    assert (idle.phase, idle.finished) == ("collect", True)
    promoted, _ = run(plan, ROUND[:9])
    outcome = judge(plan, promoted, measure(promoted, [], None))
    assert (promoted.finished, outcome.expected, outcome.exit_code) == (True, False, 3)


def crowd(count: int, began: float, reward: float, audience: str, taste: str, version: str) -> list[Visit]:
    return [Visit(began, began + 0.1, audience, taste, reward, 20.0, frozenset({version})) for _ in range(count)]


def test_exit_code_zero_needs_a_lower_bound_above_the_drifted_point() -> None:
    state, _ = run(PLAN, ROUND)
    drifted = crowd(20, 5.5, 0.0, "regular", "short", BASE) + crowd(5, 5.5, 1.0, "regular", "short", BASE)
    after = crowd(60, 10, 1.0, "unseen", "short", ADAPTER)
    stray = crowd(500, 10, 0.0, "unseen", "short", BASE) + crowd(500, 10, 0.0, "regular", "short", ADAPTER)
    during_canary = crowd(500, 8.5, 1.0, "regular", "short", BASE)
    found = measure(state, drifted + after + stray + during_canary, ADAPTER)
    assert found.drifted is not None
    assert found.after is not None
    assert (found.drifted.sessions, found.after.sessions) == (25, 60)
    assert judge(PLAN, state, found).exit_code == 0
    worse = measure(state, drifted + crowd(60, 10, 0.2, "unseen", "short", ADAPTER), ADAPTER)
    assert judge(PLAN, state, worse).exit_code == 3
