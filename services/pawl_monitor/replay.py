"""`python -m pawl_monitor.replay`: alarms, versions' live figures and requests for training, decided again from the log
(see `pawl replay`)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Protocol
from uuid import UUID

from pawl_monitor.domain.versions import VersionPolicy
from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.handlers.folds import WEIGH, WatchFold, Weighing
from pawl_monitor.handlers.retrain import request_id, retrain_request
from pawl_monitor.handlers.versions import VersionFold
from pawl_monitor.settings import SERVICE, MonitorSettings
from pawl_monitor.storage import datasets
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Bus
from pawl_shared.errors import ArtifactError
from pawl_shared.events import (
    DriftAssessed,
    DriftDetected,
    DriftResolved,
    Event,
    RetrainRequested,
    ReviewRequested,
    VersionObserved,
)
from pawl_shared.running.comparison import Comparison, Difference
from pawl_shared.running.rebuild import Plan, Progress, logged
from pawl_shared.running.replay import main, replay
from pawl_shared.stores.port import Effect

DECIDED = (DriftDetected, DriftAssessed, DriftResolved, ReviewRequested, VersionObserved)
# What only the data set can tell.
COUNTED = ("counts", "reasons")


class Snapshots(Protocol):
    """Data sets that were frozen."""

    def frozen(self, digest: str) -> datasets.Frozen | None:
        """One of them; none when it is not there (any more)."""


class StoredSnapshots:
    """In the artifact store."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def frozen(self, digest: str) -> datasets.Frozen | None:
        try:
            return datasets.read(self._artifacts.fetch_folder(digest))
        except (ArtifactError, OSError):
            return None


class Requests:
    """Requests for training on the log: each is decided again, by the weighing that the replay owes at the moment that
    its data set names, on the rows of that data set.

    Not decided again: which rows those are, and whether one of the weighings that ended in nothing should have ended in
    a request. Both need the text that people wrote, which does not stay on the log.
    """

    def __init__(self, on_log: Iterable[Event], snapshots: Snapshots) -> None:
        self._requests = {event.id: event for event in on_log if isinstance(event, RetrainRequested)}
        self._snapshots = snapshots
        found = {request.id: snapshots.frozen(request.dataset) for request in self._requests.values()}
        self._until = {identity: frozen and frozen.until for identity, frozen in found.items()}
        self._weighings: dict[UUID, Weighing] = {}

    def owed(self, effect: Effect) -> None:
        """One of them for each request is kept; an alarm is weighed every few seconds until it ends in one."""
        if effect.kind != WEIGH:
            return
        weighing = Weighing.model_validate_json(effect.payload)
        identity = request_id(weighing)
        if identity in self._until and self._until[identity] in (None, weighing.now):
            self._weighings[identity] = weighing

    def compare(self) -> Comparison:
        result = Comparison({RetrainRequested.TYPE: 0})
        unknown = 0
        for request in self._requests.values():
            weighing = self._weighings.get(request.id)
            if weighing is None:
                result.differences.append(_different(request, "the log has it, the replay sees no occasion for it"))
            elif (frozen := self._snapshots.frozen(request.dataset)) is not None:
                self._decide(result, request, weighing, frozen.lines)
            else:
                unknown += 1
                result.add(request, retrain_request(weighing, [], (), request.dataset, SERVICE), COUNTED)
        if unknown:
            result.notes.append(
                f"the data sets of {unknown} of the requests for training are not in the artifact store any more: "
                "whether there was enough feedback was not decided again for them"
            )
        return result

    def _decide(self, result: Comparison, request: RetrainRequested, weighing: Weighing, lines: datasets.Lines) -> None:
        decision = weighing.by.decide(weighing.trigger, datasets.usable(lines), weighing.now)
        if decision.fire:
            result.add(request, retrain_request(weighing, lines, decision.reasons, request.dataset, SERVICE))
        else:
            result.differences.append(_different(request, f"the log has it, the replay decides: {decision.sentence}"))


def _different(request: RetrainRequested, what: str) -> Difference:
    return Difference(request.TYPE, request.id, what)


def report(settings: MonitorSettings, bus: Bus, artifacts: ArtifactStore, progress: Progress) -> dict[str, Any]:
    """What the monitor decided, beside what the same folds decide from the log."""
    folds = (WatchFold(WatchPolicy(), SERVICE), VersionFold(VersionPolicy(), SERVICE))
    plan = Plan(SERVICE, folds, DECIDED, settings.kept_seen)
    requests = Requests(logged(bus, (RetrainRequested,)).values(), StoredSnapshots(artifacts))
    return replay(bus, plan, requests, progress)


def _main() -> int:
    settings = MonitorSettings()
    bus = KafkaBus.of(settings)
    artifacts = ArtifactStore(settings.artifacts, settings.artifact_cache)
    return main(SERVICE, lambda progress: report(settings, bus, artifacts, progress))


if __name__ == "__main__":
    sys.exit(_main())
