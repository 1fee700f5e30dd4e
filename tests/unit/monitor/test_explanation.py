"""What an alarm tells besides its numbers: ratings before and after, deployments near it, answers that show it."""

import random
from datetime import timedelta
from uuid import UUID, uuid5

import pytest
from support.monitor import BASE, GRAPH, MODEL, START

from pawl_monitor.domain.approval import ApprovalPolicy
from pawl_monitor.domain.detection import detectors_of
from pawl_monitor.domain.detectors import SHARES
from pawl_monitor.domain.explanation import MARKS, Ratings
from pawl_monitor.domain.output import OutputPolicy
from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.domain.watched import Watched
from pawl_shared import events as e
from pawl_shared.policies.model_policy import Detectors

POLICY = WatchPolicy(ApprovalPolicy(n0=60), output=OutputPolicy(n0=60))


def session(number: int, reward: float | None, words: float) -> e.SessionObserved:
    time = START + timedelta(seconds=number)
    return e.SessionObserved(
        id=uuid5(UUID(int=1), str(number)), cause=uuid5(UUID(int=2), str(number)), time=time, source="test",
        model=MODEL, session=f"s{number}", arm="champion", version=BASE, revision=1, reward=reward, answers=1,
        rated=int(reward is not None), started=time, ended=time, statistics={"words": words},
    )  # fmt: skip


def deployment(revision: int, second: int, change: str) -> e.DeploymentChanged:
    return e.DeploymentChanged.model_validate(
        {
            "id": uuid5(UUID(int=3), str(revision)), "time": START + timedelta(seconds=second), "source": "test",
            "model": MODEL, "revision": revision, "change": change,
            "champion": {"version": BASE, "base": BASE, "graph": GRAPH},
        }
    )  # fmt: skip


def alarms(change: int, words: float, approval: float, rated: float) -> list[e.DriftDetected]:
    """100 points of approval, half of the sessions rated, 20 words, until `change`."""
    rng, found = random.Random(1), list[e.Event]()
    state = POLICY.deployed(Watched(model=MODEL), deployment(1, 0, "registered"), START)
    for number in range(change + 300):
        late = number >= change
        if number == change - 5:
            state = POLICY.deployed(state, deployment(2, number, "promoted"), START)
            state = POLICY.deployed(state, deployment(3, number, "paused"), START)
        reward = float(rng.random() < (approval if late else 0.9)) if rng.random() < (rated if late else 0.5) else None
        length = rng.lognormvariate(0, 0.5) * (words if late else 20)
        seen = POLICY.observed(state, session(number, reward, length), "test")
        state, found = seen.state, found + list(seen.events)
    return [event for event in found if isinstance(event, e.DriftDetected)]


def test_a_fall_of_approval_comes_with_ratings_deployments_and_examples() -> None:
    (alarm,) = alarms(800, 20, 0.3, 0.9)
    assert (alarm.statistic, alarm.direction) == ("approval", "drop")
    assert alarm.rated_before is not None
    assert alarm.rated_after is not None
    assert alarm.rated_before.point == pytest.approx(0.5, abs=0.05)
    assert alarm.rated_after.low > alarm.rated_before.high
    assert alarm.deployments == tuple(uuid5(UUID(int=3), str(revision)) for revision in (1, 2))
    assert "Deployment 2 (promoted)" in alarm.sentence
    late = {uuid5(UUID(int=2), str(number)) for number in range(800, 1100)}
    assert len(alarm.examples) == 5
    assert set(alarm.examples) <= late


def test_other_answers_are_an_alarm_without_any_rating_and_ask_for_no_run() -> None:
    (alarm,) = alarms(400, 60, 0.9, 0.0)
    assert alarm.detector == "output/words"
    assert alarm.direction == "rise"
    assert alarm.sentence.startswith("The share of sessions with words above ")


def test_ratings_are_told_to_a_sixty_fourth_of_the_stream() -> None:
    ratings = Ratings()
    for number in range(10_000):
        ratings = ratings.add(number >= 6_000, START + timedelta(seconds=number))
    assert len(ratings.marks) <= MARKS
    before, after = ratings.around(START + timedelta(seconds=6_000))
    assert before is not None
    assert after is not None
    assert before.point == 0
    assert after.point > 0.95
    assert Ratings().around(START) == (None, None)


def test_the_detectors_of_a_model_share_one_budget() -> None:
    asked = Detectors.model_validate({"alpha": 1e-4, "delta": 0.2, "approval": {"reference_sessions": 300}})
    approval, traffic, output, further = detectors_of(asked)
    assert further == ()
    assert traffic is not None
    assert output is not None
    assert approval.alpha + traffic.alpha + output.alpha == pytest.approx(1e-4)
    assert sum(SHARES.values()) == pytest.approx(1)
    assert (approval.delta, approval.n0, output.n0) == (0.2, 300, 300)
    halves = [1 / approval.threshold(side, half) for side in ("drop", "rise") for half in ("bound", "conformal")]
    assert sum(halves) == pytest.approx(approval.alpha)
    assert 7 / output.threshold == pytest.approx(output.alpha)
    assert 3 / traffic.threshold == pytest.approx(traffic.alpha)
    unwatched = Detectors.model_validate({"traffic": {"watch": False}, "output": {"watch": False}})
    assert detectors_of(unwatched)[1:] == (None, None, ())
    default = WatchPolicy()
    assert (default.approval, default.traffic, default.output, default.further) == detectors_of(Detectors())
