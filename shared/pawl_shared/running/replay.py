"""The replay of one service: its decisions made again, compared with those on the log, and told as lines of JSON."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from pawl_shared import logging
from pawl_shared.buses.port import Bus
from pawl_shared.errors import BusError
from pawl_shared.running.comparison import MISSING, Claims, Comparison, compare
from pawl_shared.running.rebuild import Plan, Progress, logged, rebuild

DIFFERENT = 3
"""Exit status of a replay that came out differently; 0: the same, 1: it could not be done."""

MISSING_SECONDS = 5.0
TELL_EVERY = 0.5
LISTED = 20


def replay(bus: Bus, plan: Plan, claims: Claims | None = None, progress: Progress = lambda _: None) -> dict[str, Any]:
    """The report for one service, as plain values."""
    rebuilt = rebuild(bus, plan, claims.owed if claims else lambda _: None, progress)
    give_up = time.monotonic() + MISSING_SECONDS
    while True:  # the service itself may be a moment behind its replay
        found = compare(rebuilt, logged(bus, plan.decided))
        if not any(each.what == MISSING for each in found.differences) or time.monotonic() > give_up:
            break
        time.sleep(TELL_EVERY)
    also = claims.compare() if claims else Comparison()
    differences = [*found.differences, *also.differences]
    return {
        "service": plan.service,
        "same": not differences,
        "records": rebuilt.records,
        "decisions": dict.fromkeys((kind.TYPE for kind in plan.decided), 0) | found.same | also.same,
        "differences": [
            {"type": d.kind, "id": str(d.id), "what": d.what, "fields": [list(f) for f in d.fields]}
            for d in differences[:LISTED]
        ],
        "different": len(differences),
        "new": [
            {"type": kind, "field": name, "decisions": count}
            for (kind, name), count in sorted((Counter(found.new) + Counter(also.new)).items())
        ],
        "notes": also.notes,
    }


def main(service: str, make: Callable[[Progress], dict[str, Any]]) -> int:
    """The whole `python -m pawl_SERVICE.replay`: lines of JSON on stdout, progress first and the report last.

    `pawl replay` runs it as a child. Exit status: 0 the same, 1 it could not be done, DIFFERENT.
    """
    report = tell(service, make)
    return 1 if report is None else 0 if report["same"] else DIFFERENT


def tell(service: str, make: Callable[[Progress], dict[str, Any]]) -> dict[str, Any] | None:
    """Print the progress and the report, or why there is none."""
    logging.configure(service, "ERROR")
    last = time.monotonic()

    def progress(records: int) -> None:
        nonlocal last
        if time.monotonic() - last > TELL_EVERY:
            last = time.monotonic()
            _line({"service": service, "records": records})

    try:
        report = make(progress)
    except BusError as error:
        _line({"service": service, "error": str(error)})
        return None
    _line(report)
    return report


def _line(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content, default=str) + "\n")
    sys.stdout.flush()
