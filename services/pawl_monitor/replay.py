"""`python -m pawl_monitor.replay`: alarms and requests for training, decided again from the log (see `pawl replay`)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from pawl_monitor.app import SERVICE
from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.handlers.folds import WEIGH, WatchFold, Weighing
from pawl_monitor.handlers.retrain import request_id
from pawl_monitor.settings import MonitorSettings
from pawl_shared.bus import Bus
from pawl_shared.events import DriftDetected, DriftResolved, RetrainRequested
from pawl_shared.kafka_bus import KafkaBus
from pawl_shared.replay import Difference, Progress, Rebuilt, logged, main, replay

DECIDED = (DriftDetected, DriftResolved)


def unfounded(rebuilt: Rebuilt, bus: Bus) -> Iterator[Difference]:
    """Requests on the log for which the replay sees no occasion.

    Whether there was enough feedback is not decided again: text is not kept for ever. But each request must come from a
    weighing that the replay owes, too: the same occasion, attempt, base and parent.
    """
    owed = [Weighing.model_validate_json(effect.payload) for effect in rebuilt.effects if effect.kind == WEIGH]
    weighings = {request_id(weighing): weighing for weighing in owed}
    for request in logged(bus, (RetrainRequested,)).values():
        assert isinstance(request, RetrainRequested), "nothing else was asked for"
        weighing = weighings.get(request.id)
        if weighing is None:
            yield Difference(request.TYPE, request.id, "the log has it, the replay sees no occasion for it")
        elif fields := tuple(
            (name, getattr(request, name), getattr(weighing, name))
            for name in ("base", "parent", "policy")
            if getattr(request, name) != getattr(weighing, name)
        ):
            yield Difference(request.TYPE, request.id, "it comes out differently", fields)


def report(bus: Bus, progress: Progress) -> dict[str, Any]:
    """What the monitor decided, beside what the same folds decide from the log."""
    folds = (WatchFold(WatchPolicy(), SERVICE),)
    return replay(bus, SERVICE, folds, DECIDED, lambda rebuilt: unfounded(rebuilt, bus), progress)


if __name__ == "__main__":
    settings = MonitorSettings()
    sys.exit(main(SERVICE, lambda progress: report(KafkaBus(settings.kafka_bootstrap_servers), progress)))
