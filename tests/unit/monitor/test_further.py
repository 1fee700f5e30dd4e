"""Further detectors: of a metric, of a slice, by river; one budget, exact replays, and off without their library."""

import random
from datetime import timedelta
from uuid import UUID

import pytest
from pydantic import TypeAdapter, ValidationError
from support.monitor import MODEL
from unit.monitor.test_watch import BASE, START, deployment, session

from pawl_monitor.domain import river_detectors
from pawl_monitor.domain.advice import about
from pawl_monitor.domain.detection import detectors_of
from pawl_monitor.domain.detectors import Observation
from pawl_monitor.domain.further import Further, further_of
from pawl_monitor.domain.output import OutputPolicy
from pawl_monitor.domain.river_detectors import LIMITS, RiverPolicy, RiverState, likeliest
from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.domain.watched import Watched
from pawl_shared import events as e
from pawl_shared.policies.model_policy import Detectors, ModelPolicy
from pawl_shared.policies.watch_policy import Watch


def governed(more: dict[str, dict[str, object]], **detectors: object) -> tuple[WatchPolicy, Watched]:
    policy = ModelPolicy.model_validate({"model": MODEL, "detectors": {"more": more, **detectors}})
    command = e.ConfigureModelCommand(
        id=UUID(int=9), time=START, source="test", model=MODEL, who="ada", policy=policy, digest=policy.digest
    )
    default = WatchPolicy()
    state = default.configured(
        default.deployed(Watched(model=MODEL), deployment(1, BASE, "registered"), START), command
    )
    return default.governing(state), state


def alarms(policy: WatchPolicy, state: Watched, sessions: list[e.SessionObserved]) -> tuple[Watched, list[e.Event]]:
    found: list[e.Event] = []
    for each in sessions:
        # every state goes through the text in which it is stored
        if each.session.endswith("7"):
            state = Watched.model_validate_json(state.model_dump_json())
        seen = policy.observed(state, each, "test")
        state = seen.state
        found += seen.events
    return state, found


def stream(seed: int) -> list[e.SessionObserved]:
    """300 sessions with a helpfulness of about 5, then 200 with 3."""
    rng = random.Random(seed)
    said = [{"metric/helpful": rng.gauss(5 if i < 300 else 3, 1)} for i in range(500)]
    return [session(i, None, statistics=each, cause=UUID(int=i + 1)) for i, each in enumerate(said)]


def test_a_metric_of_the_app_is_watched() -> None:
    policy, state = governed({"helpful": {"of": "metric/helpful", "change": "drop", "reference_sessions": 100}})
    _, found = alarms(policy, state, stream(1))
    (alarm,) = [each for each in found if isinstance(each, e.DriftDetected)]
    assert alarm.detector == "helpful/metric/helpful"
    assert not alarm.fell  # news; it asks for no run
    assert alarm.sentence.startswith("The share of sessions with metric/helpful above ")
    assert abs((alarm.since - START).total_seconds() - 300) < 30


def test_a_slice_is_watched_and_no_other_session_speaks_for_it() -> None:
    more: dict[str, dict[str, object]] = {
        "german": {"where": {"language": "de", "app": "shop"}, "reference_sessions": 60}
    }
    policy, state = governed(more)
    rng, sessions = random.Random(2), []
    for i in range(700):
        german, shop = i % 2 == 0, i % 4 < 2
        hurt = i > 500 and german and shop
        reward = float(rng.random() < (0.3 if hurt else 0.9))
        where: dict[str, object] = {"language": "de" if german else "en", "tags": {"app": "shop" if shop else "x"}}
        sessions.append(session(i, reward, cause=UUID(int=i + 1), **where))
    state, found = alarms(policy, state, sessions)
    alarm = next(each for each in found if isinstance(each, e.DriftDetected) and each.detector.startswith("german"))
    assert alarm.statistic == "approval where app is shop and language is de"
    assert alarm.sentence.startswith("Approval where app is shop and language is de fell from 88%")
    assert alarm.before.n + alarm.after.n <= 175
    assert about(alarm.statistic) == "approval"
    assert not any(isinstance(each, e.ReviewRequested) for each in found)  # it was rated


def test_all_detectors_share_one_budget() -> None:
    more = {"a": Watch(of="words", change="drop"), "b": Watch(), "c": Watch(by="kswin")}
    policies = detectors_of(Detectors(alpha=1e-4, more=more))
    assert policies.traffic is not None
    assert policies.output is not None
    further = [each.detector.alpha for each in policies.further if isinstance(each.detector, OutputPolicy)]
    assert len(further) == 2
    total = policies.approval.alpha + policies.traffic.alpha + policies.output.alpha + sum(further)
    assert total == pytest.approx(1e-4)
    alone = detectors_of(Detectors(alpha=1e-4, more={"c": Watch(by="kswin")}))
    assert alone.approval == detectors_of(Detectors(alpha=1e-4)).approval  # river's take nothing of it


def test_another_policy_resets_only_what_it_changes() -> None:
    one: dict[str, object] = {"of": "metric/helpful"}
    policy, state = governed({"a": one, "b": one})
    state, _ = alarms(policy, state, stream(1)[:20])
    assert set(state.further) == {"a", "b"}
    new = ModelPolicy.model_validate(
        {"model": MODEL, "detectors": {"more": {"a": one, "b": {**one, "change": "drop"}}}}
    )
    command = e.ConfigureModelCommand(
        id=UUID(int=9), time=START, source="test", model=MODEL, who="ada", policy=new, digest=new.digest
    )
    assert set(WatchPolicy().configured(state, command).further) == {"a"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"approval-de": {}}, "are taken"),
        ({"x": {"by": "adwin", "settings": {"threshold": 5}}}, "no setting threshold"),
        ({"x": {"settings": {"delta": 0.1}}}, "pawl has no setting delta: there are none"),
        ({"x": {"by": "kswin", "settings": {"alpha": 1.0}}}, "must be below 1"),
        ({"x": {"where": {"prompts": "E"}}}, "one of A, B, C, D"),
        ({"Übel": {}}, "pattern"),
    ],
)
def test_mistakes_are_named(more: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Detectors.model_validate({"more": more})


def test_without_the_library_a_detector_of_rivers_is_off_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(river_detectors, "find_spec", lambda _: None)
    river_detectors.installed.cache_clear()
    try:
        policy, state = governed({"helpful": {"of": "metric/helpful", "by": "adwin"}})
        _, found = alarms(policy, state, stream(1))
        assert found == []
        assert policy.guarantees["helpful"].startswith("off: ")
    finally:
        river_detectors.installed.cache_clear()


def test_the_likeliest_change_is_found() -> None:
    assert likeliest([1.0] * 9) is None
    assert likeliest([1.0] * 30 + [2.0] * 10) == 30


@pytest.mark.parametrize("by", ["adwin", "page-hinkley", "kswin"])
def test_rivers_detectors_are_rebuilt_exactly(by: str) -> None:
    pytest.importorskip("river")
    further = further_of("helpful", Watch.model_validate({"of": "metric/helpful", "by": by}), 0)
    sessions = stream(3)[100:450]
    kept, anew = run(further, sessions, False), run(further, sessions, True)
    assert kept == anew
    found = [change for change in kept if change is not None]
    assert found[0].direction == "drop"
    assert further.guarantee.startswith("none: ")


def run(further: Further, sessions: list[e.SessionObserved], stored: bool) -> list[object]:
    stored_as, state, found = TypeAdapter(type(further.begin(1))), further.begin(1), []
    for number, each in enumerate(sessions):
        if stored and number % 40 == 0:
            state = stored_as.validate_json(stored_as.dump_json(state))
        state, decision = further.step(state, Observation(each.session, None, each.ended, each.statistics))
        assert decision is not None
        found.append(decision.change)
        if decision.change is not None:
            state = further.begin(1)
    return found


def test_a_detector_of_rivers_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("river")
    monkeypatch.setitem(LIMITS, "adwin", (256, 128))
    policy = further_of("x", Watch(of="words", by="adwin"), 0).detector
    assert isinstance(policy, RiverPolicy)
    state, rng = RiverState(), random.Random(1)
    for i in range(1000):
        seen = Observation(f"s{i}", None, START + timedelta(seconds=i), {"words": rng.random()})
        state, _ = policy.step(state, seen)
        assert len(state.values) < 256 * 8
        assert len(state.marks) <= 4
    assert state.marks[0] >= START + timedelta(seconds=1000 - 256)
