"""Live figures of a version: what they are, when they are told, and that nothing else moves them."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from pawl_monitor.domain.versions import Version, VersionPolicy
from pawl_monitor.handlers.versions import VersionFold
from pawl_monitor.views.versions import versions_of
from pawl_shared import events as e
from pawl_shared.running.fold import Delivery, Step

MODEL, BASE = "default/assistant", "b" * 64
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
FOLD = VersionFold(VersionPolicy(), "test")


def session(number: int, reward: float | None = 1.0, seconds: float = 0.5, arm: str = "champion") -> Delivery:
    at = START + timedelta(minutes=number)
    event = e.SessionObserved(
        id=uuid4(), time=at, source="test", model=MODEL, session=f"s {number}", arm=arm, version=BASE, revision=1,
        reward=reward, answers=1, rated=int(reward is not None), started=at - timedelta(minutes=1), ended=at,
        statistics={"seconds": seconds, "first_token_seconds": seconds / 10},
    )  # fmt: skip
    return Delivery(event, at, "pawl.evidence", 0, number)


def tick(model: str, at: datetime) -> Delivery:
    event = e.Tick(id=uuid4(), time=at, source="test", model=model, number=1)
    return Delivery(event, at, "pawl.evidence", 0, 0)


def told(deliveries: list[Delivery]) -> tuple[Step[Version], list[e.VersionObserved]]:
    """The last step, and all that was told."""
    step, found = Step[Version](None), list[e.VersionObserved]()
    for delivery in deliveries:
        for key in FOLD.keys(delivery.event):
            step = FOLD.step(key, step.state, delivery)
            found += [event for event in step.events if isinstance(event, e.VersionObserved)]
    return step, found


def test_the_figures_are_those_of_the_sessions() -> None:
    rewards = [1.0, 0.0, None, 1.0, None, 1.0, 1.0, 0.5, 1.0, 1.0]
    _, (event,) = told([session(n, reward, seconds=0.1 * (n + 1)) for n, reward in enumerate(rewards)])
    assert (event.model, event.version, event.sessions) == (MODEL, BASE, 10)
    assert (event.approval.point, event.approval.n) == (6.5 / 8, 8)
    assert event.approval.low < 6.5 / 8 < event.approval.high
    assert event.rated_share is not None
    assert (event.rated_share.point, event.rated_share.n) == (0.8, 10)
    assert event.seconds["p50"] == pytest.approx(0.5, rel=0.05)
    assert event.seconds["p95"] == pytest.approx(1.0, rel=0.05)
    assert event.seconds["first_token_p50"] == pytest.approx(0.05, rel=0.05)
    assert (event.since, event.until) == (START - timedelta(minutes=1), START + timedelta(minutes=9))


def test_where_nobody_rates_the_interval_is_all_there_is() -> None:
    _, (event,) = told([session(n, None) for n in range(10)])
    assert event.approval == e.Interval(point=0, low=0, high=1, n=0)


def test_many_sessions_are_told_seldom_and_the_rest_after_an_hour_of_their_own_model() -> None:
    step, found = told([session(n) for n in range(1017)])
    assert [event.sessions for event in found][:3] == [10, 20, 30]
    assert 45 < len(found) < 55
    assert step.state is not None
    assert step.due is not None
    left = step.state.sessions - step.state.told
    assert left > 0
    other = FOLD.timer("", step.state, tick("acme/other", step.due))
    assert (other.events, other.due) == ((), step.due)
    rest = FOLD.timer("", step.state, tick(MODEL, step.due))
    (event,) = rest.events
    assert isinstance(event, e.VersionObserved)
    assert (event.sessions, rest.due) == (1017, None)


def test_pinned_sessions_say_nothing_and_a_repeat_has_the_same_id() -> None:
    assert told([session(n, arm="pinned") for n in range(20)])[1] == []
    deliveries = [session(n) for n in range(10)]
    assert told(deliveries)[1] == told(deliveries)[1]


def test_the_view_joins_registration_stages_verdicts_and_figures() -> None:
    def record(position: int, cls: type[e.Event], **value: object) -> dict[str, object]:
        return {"position": position, "time": START, "type": cls.TYPE, "value": {"version": BASE, **value}}

    asked = record(3, e.ApprovalChanged, step="canary", state="requested", who="pawl", reasons=["passed"])
    records = [
        record(2, e.StageChanged, stage="validated", who="pawl", reasons=["every gate passed"]),
        asked,
        record(1, e.ModelRegistered, kind="adapter"),
    ]
    _, (event,) = told([session(n) for n in range(10)])
    figures = [{"time": START, "value": event.model_dump(mode="json")}]
    (version,) = versions_of(records, figures)
    assert (version.stage, version.waits, version.is_base) == ("validated", "canary", False)
    assert version.live is not None
    assert version.live.sessions == 10
    verdict = record(4, e.ApprovalChanged, step="canary", state="approved", who="ada", reasons=["read it"])
    (version,) = versions_of([*records, verdict], [])
    assert (version.waits, [(move.stage, move.who) for move in version.history]) == (
        "",
        [("validated", "pawl"), ("canary approved", "ada")],
    )
