"""Replicas as the console shows them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pawl_monitor.views.overview import replicas_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def row(name: str, ago: timedelta, **value: object) -> dict[str, Any]:
    told = {"applied": {"m": 3}, "problems": ["disk full"], **value}
    return {"replica": name, "healthy": False, "time": NOW - ago, "value": told}


def test_only_replicas_that_were_heard_of_lately_are_shown() -> None:
    rows = [
        row("here", timedelta(seconds=20)),
        row("died", timedelta(days=3)),
        row("stopped", timedelta(seconds=5), stopped=True),
    ]
    assert [(each.replica, each.revision) for each in replicas_of(rows, "m", NOW)] == [("here", 3)]
