"""Alarms with their explanation and their end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from pawl_monitor.domain.explanation import title_of
from pawl_monitor.domain.intervals import Estimate
from pawl_shared import events as e

Fact = dict[str, Any]
# Fields that alarms of earlier versions lack.
LATER = ("statistic", "rated_before", "rated_after", "deployments", "examples", "clusters", "advice")
ALWAYS = ("direction", "detector", "version", "since", "before", "after", "evidence", "threshold")
ALARM_TYPES = (e.DriftDetected.TYPE, e.DriftAssessed.TYPE, e.DriftResolved.TYPE, e.ReviewRequested.TYPE)


class Rate(BaseModel):
    """A rate in [0, 1] with its 95 % interval, over n sessions."""

    point: float
    low: float
    high: float
    n: int


def rate_of(value: Estimate | None) -> Rate | None:
    """An estimate as views carry it."""
    return None if value is None else Rate(point=value.point, low=value.low, high=value.high, n=value.n)


class Group(BaseModel):
    """Prompts of like words: their share of all sessions and their approval, before and after. `moved`: whether its
    share did. examples: answers to typical ones."""

    before: Rate
    after: Rate
    moved: bool
    approval_before: Rate | None = None
    approval_after: Rate | None = None
    examples: list[str] = []


class Advice(BaseModel):
    """The likelier cure, and why."""

    cure: str
    sentence: str


class Alarm(BaseModel):
    """One alarm. A fall of approval is open until live evidence resolves it; the others are news and never open.

    rated_before, rated_after: shares of sessions that people rated. deployments: those from a day before its start on.
    examples: answers that show it. clusters, advice: by all that had come when the alarm was assessed (`assessed`:
    so many sessions after it began), before that by what there was when it was raised. review: what people are asked to
    judge because of it.
    """

    alarm: str
    time: datetime
    direction: str
    detector: str
    version: str
    since: datetime
    before: Rate
    after: Rate
    evidence: float
    threshold: float
    sessions: int
    sentence: str
    statistic: str = "approval"
    rated_before: Rate | None = None
    rated_after: Rate | None = None
    deployments: list[str] = []
    examples: list[str] = []
    clusters: list[Group] = []
    advice: Advice | None = None
    assessed: int | None = None
    review: str | None = None
    asked: int = 0
    reviewed: int = 0
    open: bool
    resolved: datetime | None = None
    now: Rate | None = None
    resolution: str = ""

    @property
    def title(self) -> str:
        """What moved, and which way."""
        return title_of(self.statistic, self.direction)


def alarms_of(records: Sequence[Fact]) -> list[Alarm]:
    """All alarms in `records` (in any order), the latest first."""
    later = {(r["type"], r["value"]["alarm"]): r for r in records if "alarm" in r["value"]}
    alarms = [_alarm(r, later) for r in records if r["type"] == e.DriftDetected.TYPE]
    return sorted(alarms, key=lambda alarm: alarm.time, reverse=True)


def _alarm(record: Fact, later: Mapping[tuple[str, str], Fact]) -> Alarm:
    value, identity = record["value"], str(record["event_id"])
    end, assessed, review = (
        later.get((kind.TYPE, identity)) for kind in (e.DriftResolved, e.DriftAssessed, e.ReviewRequested)
    )
    if assessed:
        value = value | {name: assessed["value"][name] for name in ("clusters", "advice")}
    return Alarm(
        alarm=identity,
        time=record["time"],
        open=end is None and value["direction"] == "drop" and value["detector"].startswith("approval"),
        resolved=end["time"] if end else None,
        now=end["value"]["now"] if end else None,
        assessed=assessed["value"]["sessions"] if assessed else None,
        review=str(review["event_id"]) if review else None,
        asked=len(review["value"]["items"]) if review else 0,
        resolution=end["value"]["sentence"] if end else "",
        **{name: value[name] for name in (*ALWAYS, "sessions", "sentence")},
        **{name: value[name] for name in LATER if name in value},
    )
