"""A run's status is put together from control events, in whichever order they are read."""

import itertools
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from support.samples import SAMPLES, WHEN

from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.views.gather import Gather
from pawl_monitor.views.lineage import Lineage
from pawl_monitor.views.runs import Run, runs_of
from pawl_shared import events as e
from pawl_shared.errors import ArtifactNotFoundError

RUN = "run-1"


def record(kind: type[e.Event], seconds: float) -> dict[str, Any]:
    sample = next(event for event in SAMPLES if type(event) is kind)
    value = json.loads(sample.model_dump_json())
    return {"type": kind.TYPE, "time": WHEN + timedelta(seconds=seconds), "run": RUN, "value": value}


def run_after(*records: dict[str, Any]) -> Run:
    found = {run.model_dump_json() for order in itertools.permutations(records) for run in runs_of(order)}
    assert len(found) == 1
    return Run.model_validate_json(found.pop())


def test_progress_of_the_gates_leaves_a_trained_run_trained() -> None:
    story = [record(e.RetrainRequested, 0), record(e.TrainingProgressed, 1)]
    assert run_after(*story).status == "training"
    story += [record(e.AdapterTrained, 2), record(e.TrainingProgressed, 3)]
    assert run_after(*story).status == "trained"


def test_progress_that_comes_late_changes_nothing() -> None:
    story = [record(e.RetrainRequested, 0), record(e.AdapterTrained, 1), record(e.CandidateRejected, 2)]
    assert run_after(*story, record(e.TrainingProgressed, 3)).status == "rejected"


def test_what_is_taken_off_its_trial_is_over_and_what_is_pinned_serves() -> None:
    canary = record(e.DeploymentChanged, 2)
    adapter = canary["value"]["challenger"]
    story = [record(e.RetrainRequested, 0), record(e.AdapterTrained, 1), canary]
    story[1]["value"]["adapter"] = adapter["version"]
    assert run_after(*story).status == "canary"
    base = {**canary["value"], "challenger": None, "change": "pinned", "revision": 3}
    off = {**canary, "time": WHEN + timedelta(seconds=3), "value": base}
    assert run_after(*story, off).status == "rolled-back"
    off["value"] = {**base, "champion": adapter}
    assert run_after(*story, off).status == "promoted"


class Nowhere:
    """A store that has lost everything."""

    def fetch_folder(self, digest: str) -> Path:
        raise ArtifactNotFoundError(digest)


class LongRun:
    """A reader of a run that told its progress for hours; like the database, it gives the newest so many."""

    def __init__(self, *more: dict[str, Any]) -> None:
        told = record(e.TrainingProgressed, 0)
        progress = [told | {"time": WHEN + timedelta(seconds=10 + number)} for number in range(6_000)]
        self._all = [record(e.RetrainRequested, 0), record(e.TrainingStarted, 1), *progress, *more]

    def records(self, _: str, types: tuple[str, ...] = (), limit: int = 500) -> list[dict[str, Any]]:
        newest = sorted((each for each in self._all if each["type"] in types), key=lambda each: each["time"])[::-1]
        return [each | {"position": None} for each in newest[:limit]]

    def live(self, _: str) -> list[dict[str, Any]]:
        return []


def test_a_run_of_hours_is_not_forgotten_for_its_progress() -> None:
    nothing: Any = None
    reader: Any = LongRun()
    (run,) = Gather(reader, nothing, WatchPolicy()).runs("m")
    assert (run.status, run.step) == ("training", record(e.TrainingProgressed, 0)["value"]["step"])


def test_an_adapter_does_not_pass_for_a_base_when_its_run_took_hours() -> None:
    trained, artifacts, nothing = record(e.AdapterTrained, 9), Nowhere(), None
    lineage = Lineage(LongRun(trained), artifacts, nothing)  # type: ignore[arg-type]
    assert lineage.version("m", trained["value"]["adapter"])["kind"] == "adapter"
