"""A run's status is put together from control events, in whichever order they are read."""

import itertools
import json
from datetime import timedelta
from typing import Any

from support.samples import SAMPLES, WHEN

from pawl_monitor.views.runs import Run, runs_of
from pawl_shared import events as e

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
