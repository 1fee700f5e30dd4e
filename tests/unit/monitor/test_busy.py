"""While a run keeps the machine busy, slow answers are no news; before and after it they are."""

from datetime import timedelta
from uuid import UUID, uuid5

from support.monitor import BASE, GRAPH, MODEL, START

from pawl_monitor.domain.busy import KEPT, LONGEST, Span, follow, meets
from pawl_monitor.domain.output import OutputPolicy
from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.handlers.folds import WatchFold
from pawl_shared import events as e
from pawl_shared.ids import uniform
from pawl_shared.running.fold import Delivery

RUN = UUID(int=7)
FOLD = WatchFold(WatchPolicy(output=OutputPolicy(n0=60)), "test")


def envelope(second: float) -> dict[str, object]:
    return {"id": uuid5(RUN, str(second)), "time": START + timedelta(seconds=second), "source": "t", "model": MODEL}


def started(second: float, run: UUID = RUN) -> e.TrainingStarted:
    return e.TrainingStarted(**envelope(second), run=run, device="cpu")


def ended(second: float) -> e.CandidateRejected:
    return e.CandidateRejected(**envelope(second), run=RUN, adapter=GRAPH, gates=(), reasons=())


def session(second: float, seconds: float) -> e.SessionObserved:
    time = START + timedelta(seconds=second)
    return e.SessionObserved(
        **envelope(second), session=f"s{second}", arm="champion", version=BASE, revision=1, answers=1, rated=0,
        started=time, ended=time, statistics={"seconds": seconds},
    )  # fmt: skip


def alarms(*events: e.Event) -> list[str]:
    state, found = None, list[str]()
    for event in sorted(events, key=lambda each: each.time):
        step = FOLD.step(MODEL, state, Delivery(event, event.time, "t", 0, 0))
        state, found = step.state, found + [one.detector for one in step.events if isinstance(one, e.DriftDetected)]
    return found


def test_answers_that_are_slow_during_a_run_are_no_news() -> None:
    quick = [session(n, 1 + uniform("a", str(n))) for n in range(400)]
    slow = [session(n, 3 + uniform("a", str(n))) for n in range(400, 500)]
    assert alarms(*quick, *slow) == ["output/seconds"]
    assert alarms(*quick, *slow, started(399.5), ended(500.5)) == []
    assert alarms(*quick, *slow, started(100.5), ended(300.5)) == ["output/seconds"]


def test_a_session_meets_a_run_from_its_training_to_its_verdict() -> None:
    spans = follow(follow((), started(100)), ended(200))
    assert [meets(spans, session(second, 1)) for second in (99, 100, 200, 201)] == [False, True, True, False]
    late = session(100, 1).model_copy(update={"started": START, "ended": START + timedelta(seconds=150)})
    assert meets(spans, late)
    open_ = (Span(RUN, START),)
    assert [meets(open_, session(LONGEST.total_seconds() + more, 1)) for more in (-1, 1)] == [True, False]
    for number in range(9):
        spans = follow(spans, started(number, UUID(int=number)))
    assert len(spans) == KEPT
