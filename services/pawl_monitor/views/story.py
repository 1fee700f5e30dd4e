"""The loop's history in sentences, one a control event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from pawl_shared import events as e

Fact = dict[str, Any]
Tone = Literal["plain", "good", "bad"]

# Progress and observations change by the second; they are shown where they belong, not told as news.
UNTOLD = frozenset(
    {
        e.TrainingProgressed.TYPE,
        e.CanaryObserved.TYPE,
        e.ExperimentObserved.TYPE,
        e.VersionObserved.TYPE,
        e.ModelRegistered.TYPE,
    }
)


class Line(BaseModel):
    """One thing that happened."""

    time: datetime
    kind: str
    tone: Tone
    sentence: str


def story_of(records: Sequence[Fact], limit: int = 30) -> list[Line]:
    """The latest events that are worth telling, newest first."""
    told = [record for record in records if record["type"] not in UNTOLD]
    return [_line(record) for record in sorted(told, key=lambda record: record["time"], reverse=True)[:limit]]


def short(version: str | None) -> str:
    """A digest as people see it."""
    return (version or "")[:12]


def _line(record: Fact) -> Line:
    tone, sentence = tell(record["type"], record["value"])
    kind = record["type"].split(".")[1]
    return Line(time=record["time"], kind=kind, tone=tone, sentence=sentence)


def tell(kind: str, value: Fact) -> tuple[Tone, str]:
    """An event in one sentence."""
    match kind:
        case e.DriftDetected.TYPE:
            return _tone_of_alarm(value), value["sentence"]
        case e.DriftResolved.TYPE:
            return "good", value["sentence"]
        case e.DriftAssessed.TYPE:
            return "plain", value["advice"]["sentence"]
        case e.ReviewRequested.TYPE:
            return "plain", value["sentence"]
        case e.RetrainRequested.TYPE:
            rows = value["counts"].get("train", 0)
            return (
                "plain",
                f"Data set {short(value['dataset'])} frozen with {rows} rows to train on; training requested.",
            )
        case e.TrainingStarted.TYPE:
            return "plain", f"Training started on {value['device']}."
        case e.TrainingFailed.TYPE:
            return "bad", f"Training failed: {value['reason']}"
        case e.AdapterTrained.TYPE:
            seconds = value["seconds"]
            return "plain", f"Candidate {short(value['adapter'])} trained by {value['recipe']} in {seconds:.0f} s."
        case e.CandidateValidated.TYPE:
            return "good", f"Candidate {short(value['adapter'])} passed all {len(value['gates'])} gates."
        case e.CandidateRejected.TYPE:
            return "bad", f"Candidate {short(value['adapter'])} refused: {'; '.join(value['reasons'])}"
        case e.DeploymentChanged.TYPE:
            return _deployed(value)
        case e.StageChanged.TYPE:
            return "plain", f"Version {short(value['version'])} is now {value['stage']}."
        case e.ApprovalChanged.TYPE:
            return _approval(value)
        case e.ConfigureModelCommand.TYPE:
            why = f": {value['why']}" if value["why"] else "."
            return "plain", f"Policy {short(value['digest'])} is valid, applied by {value['who']}{why}"
        case _:
            why = f": {value['why']}" if value.get("why") else "."
            return "plain", f"{value.get('who', 'Pawl')} sent {_name(kind)}{why}"


def _tone_of_alarm(value: Fact) -> Tone:
    if not value["detector"].startswith("approval"):
        return "plain"
    return "good" if value["direction"] == "rise" else "bad"


def _deployed(value: Fact) -> tuple[Tone, str]:
    champion, challenger = short(value["champion"]["version"]), value["challenger"]
    because = f" {'; '.join(value['reasons'])}" if value["reasons"] else ""
    match value["change"]:
        case "registered":
            return "plain", f"Base model {champion} serves all sessions."
        case "canary" | "step":
            trial = short(challenger["version"] if challenger else None)
            return "plain", f"Candidate {trial} is on trial with {value['share']:.0%} of the sessions."
        case "promoted":
            return "good", f"Version {champion} promoted.{because}"
        case "rolled-back":
            return "bad", f"Rolled back to {champion}.{because}"
        case "pinned":
            return "plain", f"Pinned to {champion}: no candidate is tried.{because}"
        case "experiment" | "experiment-over":
            return "plain", f"{'; '.join(value['reasons'])}."
        case change:
            return "plain", f"Deployment {change}.{because}"


def _approval(value: Fact) -> tuple[Tone, str]:
    version, because = short(value["version"]), "; ".join(value["reasons"])
    if value["state"] == "requested":
        return "plain", f"Version {version} waits for a person's approval of its {value['step']}: {because}."
    tone: Tone = "good" if value["state"] == "approved" else "bad" if value["state"] == "rejected" else "plain"
    return tone, f"The {value['step']} of version {version} is {value['state']}: {because}."


def _name(kind: str) -> str:
    return kind.split(".")[2].replace("-", " ")
