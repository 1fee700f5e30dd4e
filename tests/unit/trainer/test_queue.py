"""The queue: one run at a time, in order, visible, whatever order ends and requests come in."""

import uuid
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from pawl_shared.events import Event, RetrainRequested, TrainingFailed, TrainingProgressed, TrainingStarted
from pawl_shared.running.fold import Delivery
from pawl_trainer.queue import Queue, QueueFold, TrainingOrder

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FOLD = QueueFold("pawl-trainer-test", "cpu")


def request(number: int = 0) -> RetrainRequested:
    return RetrainRequested(
        id=uuid.UUID(int=number), time=NOW, source="t", model=f"default/m{number}", dataset="d" * 64, base="b" * 64
    )


def ended(run: uuid.UUID) -> TrainingFailed:
    return TrainingFailed(id=uuid.uuid4(), time=NOW, source="t", model="default/m", run=run, reason="r")


def delivered(event: Event) -> Delivery:
    return Delivery(event, NOW, "pawl.training", 0, 0)


def test_the_first_request_begins_at_once() -> None:
    step = FOLD.step("runs", None, delivered(request(1)))
    (started,), (effect,) = step.events, step.effects
    assert isinstance(started, TrainingStarted)
    assert (started.run, started.device, started.queued, started.cause) == (request(1).id, "cpu", 0, request(1).id)
    assert TrainingOrder.model_validate_json(effect.payload).request == request(1)


def test_models_take_turns_so_that_many_runs_of_one_hold_up_no_other() -> None:
    busy = [request(number).model_copy(update={"model": "acme/busy"}) for number in (1, 2, 3)]
    other = request(4).model_copy(update={"model": "acme/other"})
    state, order = None, []
    for each in (*busy, other):
        state = FOLD.step("runs", state, delivered(each)).state
    while state is not None and state.runs:
        order.append(state.runs[0].id.int)
        end = ended(state.runs[0].id).model_copy(update={"model": state.runs[0].model})
        state = FOLD.step("runs", state, delivered(end)).state
    assert order == [1, 4, 2, 3]


def test_the_second_waits_visibly_and_begins_with_the_end_of_the_first() -> None:
    one = FOLD.step("runs", None, delivered(request(1))).state
    two = FOLD.step("runs", one, delivered(request(2)))
    (waits,) = two.events
    assert isinstance(waits, TrainingProgressed)
    assert (waits.phase, waits.metrics, two.effects) == ("queued", {"runs_before": 1.0}, ())
    three = FOLD.step("runs", two.state, delivered(request(3))).state
    after = FOLD.step("runs", three, delivered(ended(request(1).id)))
    (started,) = after.events
    assert isinstance(started, TrainingStarted)
    assert (started.run, started.queued, len(after.effects)) == (request(2).id, 1, 1)


def test_only_requests_and_ends_concern_it() -> None:
    started = FOLD.step("runs", None, delivered(request(1))).events[0]
    assert FOLD.keys(started) == ()
    assert FOLD.keys(request(1)) == FOLD.keys(ended(request(1).id)) == ("runs",)


@given(st.lists(st.one_of(st.just("ask"), st.just("end"), st.just("stray")), max_size=40))
def test_never_two_at_once_and_none_forgotten(story: list[str]) -> None:
    state: Queue | None = None
    asked, begun, done = 0, 0, 0
    for what in story:
        if what == "ask":
            asked += 1
            event: Event = request(asked)
        elif what == "end" and done < begun:
            done += 1
            event = ended(request(done).id)
        else:
            event = ended(uuid.uuid4())
        step = FOLD.step("runs", state, delivered(event))
        state, begun = step.state, begun + len(step.effects)
        assert begun - done <= 1
        assert begun == min(asked, done + 1)
