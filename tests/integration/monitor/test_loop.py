"""The monitor on the memory bus and a real DuckDB: feedback becomes evidence, an alarm, and a frozen data set."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pyarrow.parquet as pq
import pytest
from support.monitor import BASE, MODEL, World

from pawl_monitor.storage.counting import Counting
from pawl_monitor.views.gather import Gather
from pawl_monitor.views.lineage import Lineage
from pawl_shared import events as e


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def test_a_drop_of_approval_ends_in_a_frozen_data_set(world: World) -> None:
    world.deploy()
    world.sessions(60, approval=0.9)
    assert world.events(e.DriftDetected) == []
    began = world.now
    world.sessions(45, approval=0.1, corrections=0.8)
    world.weigh()
    (alarm,) = world.events(e.DriftDetected)
    assert alarm.direction == "drop"
    assert abs(alarm.since - began) < timedelta(minutes=5)
    assert alarm.after.high < alarm.before.low
    (request,) = world.events(e.RetrainRequested)
    assert (request.alarm, request.base, request.parent) == (alarm.id, BASE, None)
    folder = world.artifacts.fetch_folder(request.dataset)
    lines = pq.read_table(folder / "data.parquet").to_pylist()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {line["kind"] for line in lines} == {"pair", "binary"}
    assert all(line["time"] >= alarm.since for line in lines)
    assert manifest["alarm_id"] == str(alarm.id)
    assert sum(line["split"] == "train" for line in lines) == request.counts["train"] == manifest["counts"]["train"]
    train, heldout = ({r["messages"][0]["content"] for r in lines if r["split"] == s} for s in ("train", "heldout"))
    assert heldout
    assert not train & heldout


def test_a_restart_in_the_middle_changes_nothing(world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other", restart_every=7)
    for each in (world, other):
        each.deploy()
        each.sessions(60, approval=0.9)
        each.sessions(45, approval=0.1, corrections=0.8)
        each.weigh()
    assert world.events(e.SessionObserved) == other.events(e.SessionObserved)
    assert world.events(e.DriftDetected) == other.events(e.DriftDetected)
    assert len(world.events(e.VersionObserved)) == 10
    assert world.events(e.VersionObserved) == other.events(e.VersionObserved)
    (live,) = world.reader.live(MODEL)
    assert live["value"]["sessions"] == 100
    assert len(other.events(e.RetrainRequested)) == 1
    other.close()


def test_a_model_card_goes_on_with_who_approved_it_and_how_it_does(world: World, tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "README.md").write_text("# The card\n")
    card = world.artifacts.put_folder(tmp_path / "card")
    common = {"time": world.now, "source": "test", "model": MODEL, "version": BASE}
    registered = e.ModelRegistered(id=UUID(int=1), kind="adapter", base=BASE, graph="d" * 64, card=card, **common)
    moved = e.StageChanged(id=UUID(int=2), stage="canary", who="ada", reasons=("approved by ada: read it",), **common)
    world.publish(registered, moved)
    world.deploy()
    world.sessions(10, approval=1.0)
    lineage = Lineage(world.reader, world.artifacts, world.texts)
    found = lineage.card(MODEL, BASE)
    assert found is not None
    assert found.startswith("# The card\n")
    assert "canary, by ada: approved by ada: read it" in found
    assert "approval 100.0%" in found
    assert lineage.card(MODEL, "f" * 64) is None


def test_duplicates_and_malformed_records_change_nothing_and_stop_nothing(world: World) -> None:
    world.deploy()
    world.sessions(5, approval=1.0, copies=2)
    world.malformed()
    world.sessions(5, approval=1.0)
    assert len(world.events(e.SessionObserved)) == 10
    assert world.reader.counts(MODEL, world.now)["answers"] == 10
    assert len(world.events(e.DeadLetter)) == 1
    world.pump()
    assert world.reader.counts(MODEL, world.now)["dead_letters"] == 1


def test_a_dead_letter_that_was_retried_is_not_dead_any_more(world: World) -> None:
    world.deploy()
    for _ in range(3):
        world.malformed()
    world.pump()
    first, second, third = (letter.id for letter in world.events(e.DeadLetter))
    for number, letters in enumerate(((first, second), (first,))):  # the first one twice
        world.publish(
            e.RetryDeadLettersCommand(
                id=UUID(int=number),
                time=world.now,
                source="test",
                topic="pawl.interactions",
                letters=letters,
                who="ada",
            )
        )
    world.pump()
    counts = world.reader.counts(MODEL, world.now)
    assert (counts["dead_letters"], counts["dead_letters_retried"]) == (1, 2)
    listed = {letter["event_id"]: letter["retried"] for letter in world.reader.dead_letters()}
    assert listed == {first: world.now, second: world.now, third: None}


def test_promotion_starts_a_new_reference_and_recovery_resolves_the_alarm(world: World) -> None:
    world.deploy()
    world.sessions(60, approval=0.9)
    world.sessions(45, approval=0.1, corrections=0.8)
    (alarm,) = world.events(e.DriftDetected)
    world.deploy(version="c" * 64, revision=3, change="promoted")
    world.sessions(40, approval=0.9, version="c" * 64, revision=3)
    (resolved,) = world.events(e.DriftResolved)
    assert resolved.alarm == alarm.id
    state = world.reader.watched(MODEL)
    assert state is not None
    assert state.version == "c" * 64
    assert state.trigger.occasion is None


def test_a_policy_that_is_applied_decides_from_then_on(world: World) -> None:
    world.deploy()
    world.sessions(60, approval=0.9)
    strict = world.configure(triggers={"min_pairs": 10_000, "min_up": 10_000, "weigh_every": "1s"})
    world.sessions(45, approval=0.1, corrections=0.8)
    world.weigh()
    assert world.events(e.DriftDetected) == [], "another reference than that of the tests was begun"
    easy = world.configure(triggers={"min_heldout_pairs": 1, "weigh_every": "1s"}, reference=20)
    world.sessions(60, approval=0.9)
    world.sessions(45, approval=0.1, corrections=0.8)
    world.weigh()
    (alarm,), (request,) = world.events(e.DriftDetected), world.events(e.RetrainRequested)
    assert alarm.policy == request.policy == easy != strict
    world.configure(triggers={"heldout_share": 0.5}, reference=20)
    state = world.reader.watched(MODEL)
    assert state is not None
    assert state.trigger.run == request.id, "what is in progress goes on"


def test_a_schedule_of_ticks_asks_for_a_run_without_an_alarm(world: World) -> None:
    world.deploy()
    world.configure(triggers={"every": "1h", "cooldown": "1s", "min_heldout_pairs": 1, "budget": {"runs_per_week": 1}})
    world.sessions(45, approval=0.5, corrections=0.8)
    world.weigh()
    assert world.events(e.RetrainRequested) == []
    world.tick(3600)
    world.weigh()
    (request,) = world.events(e.RetrainRequested)
    assert request.alarm is None
    assert "a run is due every 1:00:00" in request.reasons[0]
    failed = e.TrainingFailed(
        id=uuid5(request.id, "failed"), time=world.now, source="test", model=MODEL, run=request.id, reason="no luck"
    )
    world.publish(failed)
    world.tick(7200)
    world.weigh()
    assert len(world.events(e.RetrainRequested)) == 1, "there was a budget of one run"
    state = world.reader.watched(MODEL)
    assert state is not None
    assert state.trigger.run is None


def test_answers_made_elsewhere_raise_an_alarm_and_train_what_is_deployed_here(world: World) -> None:
    abroad: dict[str, Any] = {"arm": "external", "revision": 0, "version": "e" * 64}
    world.sessions(60, approval=0.9, **abroad)
    world.sessions(30, approval=0.1, corrections=0.8, **abroad)
    world.weigh()
    (alarm,) = world.events(e.DriftDetected)
    assert alarm.sentence.endswith("the model is not deployed here.")
    assert world.events(e.RetrainRequested) == []
    assert world.events(e.VersionObserved) == []
    gather = Gather(world.reader, Counting(world.reader, world.texts), world.policy)
    seen = gather.overview(MODEL, world.now)
    assert seen.trigger.sentence == "not yet: Nothing is trained for them: the model is not deployed here"
    assert seen.approval is not None
    assert len(seen.chart.champion) > 5
    world.deploy()
    world.sessions(15, approval=0.1, corrections=0.8, **abroad)
    world.weigh()
    (request,) = world.events(e.RetrainRequested)
    assert (request.alarm, request.base, request.parent) == (alarm.id, BASE, None)
    folder = world.artifacts.fetch_folder(request.dataset)
    assert {line["rejected"] for line in pq.read_table(folder / "data.parquet").to_pylist() if line["kind"] == "pair"}
