"""Requests for training, decided again on the data sets that they froze."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from pawl_monitor.domain.trigger_state import Occasion, TriggerState
from pawl_monitor.domain.triggers import TriggerPolicy
from pawl_monitor.handlers.folds import WEIGH, Weighing
from pawl_monitor.handlers.retrain import retrain_request
from pawl_monitor.replay import Requests, StoredSnapshots
from pawl_monitor.storage import datasets
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.events import RetrainRequested
from pawl_shared.running.comparison import Comparison
from pawl_shared.stores.port import Effect

ALARM = UUID(int=1)
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = TriggerPolicy(min_pairs=1, min_heldout_pairs=1)
ENOUGH: datasets.Lines = [
    {"kind": "pair", "label": None, "split": split, "finished": True} for split in ("train", "heldout")
]
OCCASION = Occasion(alarm=ALARM, since=NOW - timedelta(hours=1), sentence="it fell", cause=ALARM, time=NOW)


def weighing(at: datetime = NOW, base: str = "b" * 64) -> Weighing:
    return Weighing(model="m", now=at, base=base, parent=None, trigger=TriggerState(occasion=OCCASION), by=POLICY)


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path / 'artifacts'}", tmp_path / "cache")


def requested(artifacts: ArtifactStore, lines: datasets.Lines = ENOUGH) -> RetrainRequested:
    """As the monitor would ask at NOW."""
    request = datasets.Request("m", OCCASION.since, NOW, "b" * 64)
    full = [dict.fromkeys(datasets.SCHEMA.names) | line for line in lines]
    digest = datasets.freeze(full, request, artifacts)
    reasons = POLICY.decide(weighing().trigger, datasets.usable(lines), NOW).reasons
    return retrain_request(weighing(), lines, reasons, digest, "monitor")


def compared(artifacts: ArtifactStore, request: RetrainRequested, *weighings: Weighing) -> Comparison:
    requests = Requests([request], StoredSnapshots(artifacts))
    for number, each in enumerate(weighings):
        requests.owed(Effect(UUID(int=number), WEIGH, each.model_dump_json()))
    return requests.compare()


def test_a_request_comes_out_the_same_by_the_weighing_of_its_data_set(artifacts: ArtifactStore) -> None:
    others = (weighing(NOW - timedelta(seconds=5), "c" * 64), weighing(NOW + timedelta(seconds=5), "d" * 64))
    found = compared(artifacts, requested(artifacts), others[0], weighing(), others[1])
    assert (found.same, found.differences, found.notes) == ({RetrainRequested.TYPE: 1}, [], [])


def test_one_that_no_weighing_at_that_moment_explains_is_told(artifacts: ArtifactStore) -> None:
    (difference,) = compared(artifacts, requested(artifacts), weighing(NOW + timedelta(seconds=5))).differences
    assert "no occasion" in difference.what


def test_one_for_which_there_was_too_little_is_told(artifacts: ArtifactStore) -> None:
    (difference,) = compared(artifacts, requested(artifacts, ENOUGH[:1]), weighing()).differences
    assert "not yet" in difference.what


@pytest.mark.parametrize(
    "change", [{"base": "c" * 64}, {"policy": "d" * 64}, {"counts": {"train": 7}}, {"reasons": ("no reason",)}]
)
def test_every_field_is_compared(artifacts: ArtifactStore, change: dict[str, object]) -> None:
    altered = requested(artifacts).model_copy(update=change)
    (difference,) = compared(artifacts, altered, weighing()).differences
    assert [name for name, _, _ in difference.fields] == list(change)


def test_without_its_data_set_what_hangs_on_it_is_left_out_and_that_is_said(artifacts: ArtifactStore) -> None:
    gone = requested(artifacts).model_copy(update={"dataset": "0" * 64, "counts": {}})
    found = compared(artifacts, gone, weighing(NOW + timedelta(seconds=5)))
    assert (found.same, found.differences) == ({RetrainRequested.TYPE: 1}, [])
    assert "data sets of 1 of the requests" in found.notes[0]
    (difference,) = compared(artifacts, gone, weighing(base="c" * 64)).differences
    assert [name for name, _, _ in difference.fields] == ["base"]
