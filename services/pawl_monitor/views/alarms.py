"""Alarms with their explanation and their end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from pawl_monitor.domain.explanation import title_of
from pawl_shared import events as e

Fact = dict[str, Any]
# Fields that alarms of earlier versions lack.
LATER = ("statistic", "rated_before", "rated_after", "deployments", "examples")
ALARM_TYPES = (e.DriftDetected.TYPE, e.DriftResolved.TYPE)


class Rate(BaseModel):
    """A rate in [0, 1] with its 95 % interval, over n sessions."""

    point: float
    low: float
    high: float
    n: int


class Alarm(BaseModel):
    """One alarm. A fall of approval is open until live evidence resolves it; the others are news and never open.

    rated_before, rated_after: shares of sessions that people rated. deployments: those from a day before its start on.
    examples: answers that show it.
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
    sentence: str
    statistic: str = "approval"
    rated_before: Rate | None = None
    rated_after: Rate | None = None
    deployments: list[str] = []
    examples: list[str] = []
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
    ends = {r["value"]["alarm"]: r for r in records if r["type"] == e.DriftResolved.TYPE}
    alarms = [_alarm(r, ends.get(str(r["event_id"]))) for r in records if r["type"] == e.DriftDetected.TYPE]
    return sorted(alarms, key=lambda alarm: alarm.time, reverse=True)


def _alarm(record: Fact, end: Fact | None) -> Alarm:
    value = record["value"]
    names = ("direction", "detector", "version", "since", "before", "after", "evidence", "threshold", "sentence")
    return Alarm(
        alarm=str(record["event_id"]),
        time=record["time"],
        open=end is None and value["direction"] == "drop" and value["detector"].startswith("approval"),
        resolved=end["time"] if end else None,
        now=end["value"]["now"] if end else None,
        resolution=end["value"]["sentence"] if end else "",
        **{name: value[name] for name in names},
        **{name: value[name] for name in LATER if name in value},
    )
