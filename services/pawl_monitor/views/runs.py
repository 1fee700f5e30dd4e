"""Training runs, from the request to the end of their canary, put together from control events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from pawl_shared import events as e

Fact = dict[str, Any]
Status = Literal[
    "requested", "training", "trained", "failed", "validated", "rejected", "canary", "promoted", "rolled-back"
]
OVER: frozenset[Status] = frozenset({"failed", "rejected", "promoted", "rolled-back"})


class Gate(BaseModel):
    """One gate's verdict."""

    gate: str
    passed: bool
    sentence: str


class Run(BaseModel):
    """One run as far as it came. `fraction` is the training's progress, 0 to 1."""

    run: str
    status: Status = "requested"
    requested: datetime
    changed: datetime
    alarm: str | None = None
    dataset: str = ""
    counts: dict[str, int] = {}
    reasons: list[str] = []
    device: str = ""
    phase: str = ""
    step: int = 0
    total: int = 0
    fraction: float = 0.0
    metrics: dict[str, float] = {}
    eta_seconds: float | None = None
    adapter: str | None = None
    recipe: str = ""
    seconds: float | None = None
    gates: list[Gate] = []
    sentence: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in OVER


RUN_TYPES = (
    e.RetrainRequested.TYPE,
    e.TrainingStarted.TYPE,
    e.TrainingProgressed.TYPE,
    e.TrainingFailed.TYPE,
    e.AdapterTrained.TYPE,
    e.CandidateValidated.TYPE,
    e.CandidateRejected.TYPE,
    e.DeploymentChanged.TYPE,
)
# Progress is told every two seconds of a run: thousands of such records must not push its request out of what is read.
PROGRESS = (e.TrainingProgressed.TYPE,)
STEPS = tuple(kind for kind in RUN_TYPES if kind not in PROGRESS)
MOST_STEPS, MOST_PROGRESS = 5_000, 20


def runs_of(records: Sequence[Fact]) -> list[Run]:
    """All runs in `records` (in any order), the latest first."""
    ordered = sorted(records, key=lambda record: (record["time"], _rank(record)))
    runs: dict[str, Run] = {}
    for record in ordered:
        value, kind, time = record["value"], record["type"], record["time"]
        if kind == e.RetrainRequested.TYPE:
            runs[str(record["run"])] = _requested(str(record["run"]), value, time)
        elif kind == e.DeploymentChanged.TYPE:
            _deployed(runs, value, time)
        elif (run := runs.get(str(record["run"]))) is not None:
            runs[run.run] = run.model_copy(update={**_update(kind, value, run), "changed": time})
    return sorted(runs.values(), key=lambda run: run.requested, reverse=True)


def _rank(record: Fact) -> int:
    return RUN_TYPES.index(record["type"]) if record["type"] in RUN_TYPES else len(RUN_TYPES)


def _requested(run: str, value: Fact, time: datetime) -> Run:
    return Run(
        run=run,
        requested=time,
        changed=time,
        alarm=value["alarm"],
        dataset=value["dataset"],
        counts=value["counts"],
        reasons=value["reasons"],
        sentence="Waiting for the trainer.",
    )


def _update(kind: str, value: Fact, run: Run) -> Fact:
    match kind:
        case e.TrainingStarted.TYPE:
            return {"status": "training", "device": value["device"], "sentence": f"Training on {value['device']}."}
        case e.TrainingProgressed.TYPE:
            if run.status not in ("requested", "training", "trained"):
                return {}  # progress goes around the transactions, so it may come after what it led to
            names = ("phase", "step", "total", "fraction", "metrics", "eta_seconds")
            # the validator reports the progress of its gates in the same way
            return {"status": "trained" if run.adapter else "training"} | {name: value[name] for name in names}
        case e.TrainingFailed.TYPE:
            return {"status": "failed", "sentence": f"{value['reason']} {value['advice']}".strip()}
        case e.AdapterTrained.TYPE:
            return {
                "status": "trained",
                "adapter": value["adapter"],
                "recipe": value["recipe"],
                "seconds": value["seconds"],
                "metrics": value["metrics"],
                "fraction": 1.0,
                "eta_seconds": None,
                "sentence": "Trained; the gates are being measured.",
            }
        case e.CandidateValidated.TYPE:
            return {"status": "validated", "gates": _gates(value), "sentence": "All gates passed."}
        case _:
            return {"status": "rejected", "gates": _gates(value), "sentence": "; ".join(value["reasons"])}


def _gates(value: Fact) -> list[Gate]:
    return [Gate(gate=g["gate"], passed=g["passed"], sentence=g["sentence"]) for g in value["gates"]]


def _deployed(runs: dict[str, Run], value: Fact, time: datetime) -> None:
    """A canary is the run whose adapter is on trial; its end is a promotion or a rollback."""
    on_trial = value["challenger"]["version"] if value["challenger"] else None
    for name, run in runs.items():
        if run.adapter is None or run.over:
            continue
        why = "; ".join(value["reasons"])
        if run.adapter == on_trial:
            update: Fact = {"status": "canary", "sentence": f"On trial with {value['share']:.0%} of the sessions."}
        elif value["change"] in ("promoted", "pinned") and run.adapter == value["champion"]["version"]:
            update = {"status": "promoted", "sentence": why or "Promoted."}
        elif run.status == "canary":  # rolled back, or taken off its trial by whatever else serves now
            update = {"status": "rolled-back", "sentence": why or "Rolled back."}
        else:
            continue
        runs[name] = run.model_copy(update={**update, "changed": time})
