"""The request for a training run: the same one, however often it is decided."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

from pawl_monitor.domain.trigger_state import Occasion, TriggerState, Usable
from pawl_monitor.domain.triggers import TriggerPolicy
from pawl_monitor.handlers.folds import WEIGH, Weighing
from pawl_monitor.handlers.retrain import WeighFeedback
from pawl_monitor.storage import datasets
from pawl_shared.events import RetrainRequested
from pawl_shared.running.effects import EffectContext
from pawl_shared.stores.port import Effect

ALARM, COMMAND = UUID(int=1), UUID(int=2)
ALARMED = datetime(2026, 1, 1, 11, 30, tzinfo=UTC)
POLICY = TriggerPolicy(min_pairs=1, min_heldout_pairs=1)


class Said:
    """Enough of everything; a data set is its latest moment."""

    def usable(self, request: datasets.Request) -> Usable:
        return datasets.usable(self.collect(request))

    def collect(self, request: datasets.Request) -> list[datasets.Line]:
        return [{"kind": "pair", "label": None, "split": split, "finished": True} for split in ("train", "heldout")]

    def freeze(self, lines: Sequence[datasets.Line], request: datasets.Request) -> str:
        return f"{int(request.until.timestamp()):064x}"


def request(occasion: Occasion, at: datetime, ended: datetime | None = None, attempts: int = 0) -> RetrainRequested:
    """What a monitor asks for that has just started."""
    trigger = TriggerState(occasion=occasion, ended=ended, attempts=attempts)
    weighing = Weighing(model="m", now=at, base="b" * 64, parent=None, trigger=trigger, by=POLICY)
    effect = Effect(UUID(int=9), WEIGH, weighing.model_dump_json())
    (event,) = WeighFeedback(Said(), "test")(effect, cast(EffectContext, None))
    assert isinstance(event, RetrainRequested)
    return event


def test_a_request_that_is_decided_again_after_a_crash_is_the_same_event_to_its_readers() -> None:
    occasion = Occasion(alarm=ALARM, since=ALARMED, sentence="", cause=ALARM, time=ALARMED)
    first, again = (request(occasion, ALARMED + timedelta(minutes=minutes)) for minutes in (29, 31))
    assert first.dataset != again.dataset, "more feedback has come; whichever copy is read first counts"
    assert (first.id, first.time) == (again.id, again.time)


def test_the_next_attempt_is_another_event_of_a_later_time() -> None:
    occasion = Occasion(alarm=ALARM, since=ALARMED, sentence="", cause=ALARM, time=ALARMED)
    ended = ALARMED + timedelta(hours=1)
    first = request(occasion, ALARMED)
    second = request(occasion, ended + timedelta(hours=1), ended, attempts=1)
    assert second.id != first.id
    assert (first.time, second.time) == (ALARMED, ended)


def test_a_person_who_asked_is_the_cause() -> None:
    occasion = Occasion(alarm=None, since=ALARMED, sentence="", cause=COMMAND, time=ALARMED)
    asked = request(occasion, ALARMED)
    assert (asked.cause, asked.alarm) == (COMMAND, None)


def test_it_is_by_the_recipe_that_was_asked_for() -> None:
    occasion = Occasion(alarm=None, since=ALARMED, sentence="", cause=COMMAND, time=ALARMED)
    assert request(occasion, ALARMED).recipe == "auto"
    assert request(occasion.model_copy(update={"recipe": "sft"}), ALARMED).recipe == "sft"
