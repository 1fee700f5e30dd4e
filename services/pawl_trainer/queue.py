"""The queue of runs: a pure fold. One run at a time; the next begins with the end of the one before, and models take
turns."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pawl_shared.events import (
    AdapterTrained,
    Event,
    RetrainRequested,
    TrainingFailed,
    TrainingProgressed,
    TrainingStarted,
)
from pawl_shared.ids import derived_id
from pawl_shared.running.fold import Delivery, Step
from pawl_shared.stores.port import Effect
from pawl_shared.topics import CANDIDATES, TRAINING, names

TRAIN = "train"
_KEY = "runs"


class Queue(BaseModel):
    """The first one is at work, the others wait in the order of their arrival."""

    model_config = ConfigDict(frozen=True)

    runs: tuple[RetrainRequested, ...] = ()


class TrainingOrder(BaseModel):
    """The payload of a `train` effect."""

    model_config = ConfigDict(frozen=True)

    request: RetrainRequested
    waiting: int


class QueueFold:
    """Owes one `train` effect at a time and says on pawl.training who waits."""

    name = "training-queue"
    topics = names(TRAINING, CANDIDATES)
    state: type[Queue] = Queue

    def __init__(self, source: str, device: str) -> None:
        self._source, self._device = source, device

    def keys(self, event: Event) -> Sequence[str]:
        """One queue for all models: they share the processor."""
        return (_KEY,) if isinstance(event, RetrainRequested | AdapterTrained | TrainingFailed) else ()

    def step(self, key: str, state: Queue | None, delivery: Delivery) -> Step[Queue]:
        """A request joins the queue, an end leaves it."""
        runs = state.runs if state else ()
        event = delivery.event
        if isinstance(event, RetrainRequested):
            return self._join(runs, event)
        assert isinstance(event, AdapterTrained | TrainingFailed), "keys() lets nothing else in"
        left = tuple(run for run in runs if run.id != event.run)
        began = left != runs and bool(left) and runs[0].id == event.run
        return self._begin(_turn(left, event.model)) if began else Step(Queue(runs=left))

    def _join(self, runs: tuple[RetrainRequested, ...], request: RetrainRequested) -> Step[Queue]:
        if not runs:
            return self._begin((request,))
        waits = TrainingProgressed(
            id=derived_id(request.id, "queued"), time=request.time, source=self._source, cause=request.id,
            model=request.model, run=request.id, phase="queued", step=0, total=0, fraction=0.0,
            metrics={"runs_before": float(len(runs))},
        )  # fmt: skip
        return Step(Queue(runs=(*runs, request)), events=(waits,))

    def _begin(self, runs: tuple[RetrainRequested, ...]) -> Step[Queue]:
        request, waiting = runs[0], len(runs) - 1
        started = TrainingStarted(
            id=derived_id(request.id, TrainingStarted.TYPE), time=request.time, source=self._source, cause=request.id,
            model=request.model, run=request.id, device=self._device, queued=waiting,
        )  # fmt: skip
        order = TrainingOrder(request=request, waiting=waiting)
        effect = Effect(derived_id(request.id, TRAIN), TRAIN, order.model_dump_json())
        return Step(Queue(runs=runs), events=(started,), effects=(effect,))


def _turn(runs: tuple[RetrainRequested, ...], last: str) -> tuple[RetrainRequested, ...]:
    """The first request of another model than the last run's goes first, so that many for one hold up no other."""
    turn = next((run for run in runs if run.model != last), runs[0])
    return (turn, *(run for run in runs if run is not turn))


def likely_device() -> str:
    """What a run will most likely compute on, without importing torch into the service; its result says for sure."""
    return "cuda" if Path("/dev/nvidia0").exists() else "cpu"
