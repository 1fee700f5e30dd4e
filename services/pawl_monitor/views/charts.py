"""Approval over time, in buckets with exact intervals, ready to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from pawl_monitor.domain.intervals import estimate
from pawl_monitor.views.alarms import Alarm
from pawl_shared import events as e

Fact = dict[str, Any]


class Point(BaseModel):
    """Rated sessions of one arm and version in one bucket; `time` in Unix seconds."""

    time: float
    version: str
    point: float
    low: float
    high: float
    n: int


class Mark(BaseModel):
    """Something that happened, at a moment (Unix seconds)."""

    time: float
    kind: Literal["drift", "resolved", "training", "canary", "promoted", "rolled-back"]
    label: str


class Evidence(BaseModel):
    """The detector's evidence for a drop, in units of the alarm threshold."""

    time: float
    drop: float
    sessions: int


class Chart(BaseModel):
    """Everything that the approval chart shows."""

    champion: list[Point] = []
    challenger: list[Point] = []
    marks: list[Mark] = []
    evidence: list[Evidence] = []


def points_of(rows: Sequence[Fact], arms: Sequence[str], start: float, width: float) -> list[Point]:
    """Buckets of these arms, in time order."""
    points = []
    for row in rows:
        rate = estimate(row["total"], row["n"])
        if row["arm"] in arms and rate is not None:
            time = start + (row["bucket"] + 0.5) * width
            points.append(
                Point(time=time, version=row["version"], **_rounded(rate.point, rate.low, rate.high), n=rate.n)
            )
    return sorted(points, key=lambda point: point.time)


def marks_of(records: Sequence[Fact], alarms: Sequence[Alarm]) -> list[Mark]:
    """Alarms, runs and deployments, as marks on the time axis."""
    marks = [
        Mark(time=_unix(alarm.time), kind="drift", label="alarm")
        for alarm in alarms
        if (alarm.statistic, alarm.direction) == ("approval", "drop")
    ]
    marks += [Mark(time=_unix(a.resolved), kind="resolved", label="resolved") for a in alarms if a.resolved]
    for record in records:
        value, time = record["value"], _unix(record["time"])
        if record["type"] == e.RetrainRequested.TYPE:
            marks.append(Mark(time=time, kind="training", label="training"))
        elif record["type"] == e.DeploymentChanged.TYPE and value["change"] in ("canary", "promoted", "rolled-back"):
            marks.append(Mark(time=time, kind=value["change"], label=value["change"]))
    return sorted(marks, key=lambda mark: mark.time)


def evidence_of(rows: Sequence[Fact], most: int = 240) -> list[Evidence]:
    """The detector's evidence, thinned to at most `most` points by keeping each stretch's highest."""
    stretch = max(1, -(-len(rows) // most))
    groups = [rows[i : i + stretch] for i in range(0, len(rows), stretch)]
    highest = [max(group, key=lambda row: row["drop_evidence"]) for group in groups]
    return [Evidence(time=_unix(r["time"]), drop=r["drop_evidence"], sessions=r["sessions"]) for r in highest]


def trace_of(rows: Sequence[Fact], most: int = 240) -> list[Evidence]:
    """The same of any detector."""
    named = [{"time": r["time"], "drop_evidence": r["evidence"], "sessions": n} for n, r in enumerate(rows, 1)]
    return evidence_of(named, most)


def _unix(time: datetime | None) -> float:
    assert time is not None
    return time.timestamp()


def _rounded(point: float, low: float, high: float) -> dict[str, float]:
    return {"point": round(point, 4), "low": round(low, 4), "high": round(high, 4)}
