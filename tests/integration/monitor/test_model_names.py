"""Names that apps tell for answers made elsewhere: no more of them are shown than people can read."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from support.monitor import MODEL, World, interaction
from support.samples import SAMPLES

from pawl_monitor.console.pages import Pages
from pawl_monitor.storage.counting import Counting
from pawl_monitor.storage.model_names import MOST_TOLD
from pawl_monitor.views.gather import Gather
from pawl_shared import events as e

TOLD = [f"default/n{number:02}" for number in range(MOST_TOLD + 5)]
LAST = TOLD[-1]
ALARM = UUID(int=9)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.deploy()
    for model in TOLD:
        world.publish(*interaction(1, world.now, model=model, arm="external"))
    world.tick(1)
    yield world
    world.close()


def gauge(name: str, model: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"model": model})


def sample(kind: type[e.Event]) -> e.Event:
    return next(event for event in SAMPLES if isinstance(event, kind))


def test_so_many_are_shown_by_name_and_the_rest_as_one(world: World) -> None:
    gather = Gather(world.reader, Counting(world.reader, world.texts), world.policy)
    assert world.reader.models.all() == sorted([MODEL, *TOLD])
    assert world.reader.models.shown() == ([MODEL, *TOLD[:MOST_TOLD]], 5)
    raised = sample(e.DriftDetected).model_copy(
        update={"id": ALARM, "model": LAST, "direction": "drop", "detector": "approval", "time": world.now}
    )
    world.publish(raised)
    world.tick(1)
    gather.measure()
    assert (gauge("pawl_open_alarms", "other"), gauge("pawl_open_alarms", LAST)) == (1, None)
    assert gauge("pawl_open_alarms", TOLD[MOST_TOLD - 1]) == 0
    # Once it is asked more than others, it is one of those with a name; another one is not any more.
    world.publish(*(event for number in (2, 3) for event in interaction(number, world.now, model=LAST)))
    world.tick(1)
    gather.measure()
    assert world.reader.models.shown() == ([MODEL, *TOLD[: MOST_TOLD - 1], LAST], 5)
    assert (gauge("pawl_open_alarms", "other"), gauge("pawl_open_alarms", LAST)) == (0, 1)
    assert gauge("pawl_open_alarms", TOLD[MOST_TOLD - 1]) is None


def test_an_alarm_of_one_of_the_rest_that_is_resolved_is_not_open(world: World) -> None:
    gather = Gather(world.reader, Counting(world.reader, world.texts), world.policy)
    changes = {"model": LAST, "time": world.now}
    raised = sample(e.DriftDetected).model_copy(
        update={**changes, "id": ALARM, "direction": "drop", "detector": "approval"}
    )
    resolved = sample(e.DriftResolved).model_copy(
        update={**changes, "alarm": ALARM, "time": world.now + timedelta(seconds=1)}
    )
    world.publish(raised, resolved)
    world.tick(1)
    gather.measure()
    assert gauge("pawl_open_alarms", "other") == 0


def test_the_console_says_how_many_more_there_are_and_shows_each_that_is_asked_for(world: World) -> None:
    gather = Gather(world.reader, Counting(world.reader, world.texts), world.policy)
    page = Pages().overview(gather.overview(LAST, world.now), world.reader.models.shown())
    assert page.count("<option") == 1 + MOST_TOLD + 2
    assert f"<option selected>{LAST}</option>" in page
    assert "5 others" in page
    assert world.reader.models.knows(LAST)
    assert not world.reader.models.knows("default/never")
    assert str(world.reader.models.shown()).endswith(" and 5 others")
