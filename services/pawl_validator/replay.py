"""`python -m pawl_validator.replay`: canaries and deployments, decided again from the log (see `pawl replay`)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from typing import Any

from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Bus, Partition
from pawl_shared.codec import decode
from pawl_shared.errors import DecodeError
from pawl_shared.events import (
    ApprovalChanged,
    CanaryObserved,
    DeploymentChanged,
    ExperimentObserved,
    RollbackCommand,
    StageChanged,
)
from pawl_shared.running.rebuild import Moved, Plan, Progress
from pawl_shared.running.replay import main, replay
from pawl_shared.topics import COMMANDS
from pawl_validator.domain.canary import CanaryPolicy
from pawl_validator.handlers.folds import DeploymentFold
from pawl_validator.settings import SERVICE, ValidatorSettings

DECIDED = (DeploymentChanged, StageChanged, ApprovalChanged, CanaryObserved, ExperimentObserved)


def report(settings: ValidatorSettings, bus: Bus, progress: Progress) -> dict[str, Any]:
    """What the validator decided, beside what the same fold decides from the log."""
    fold = DeploymentFold(CanaryPolicy(), SERVICE)
    return replay(bus, Plan(SERVICE, (fold,), DECIDED, settings.kept_seen, forced(bus)), progress=progress)


def forced(bus: Bus) -> list[Moved]:
    """Rollbacks that were carried out in the validator's place (force.py), at their own time."""
    found = []
    for record in bus.read(COMMANDS.name):
        with contextlib.suppress(DecodeError):
            event = decode(record) if record is not None else None
            if record is not None and isinstance(event, RollbackCommand) and event.forced is not None:
                found.append(Moved(record._replace(appended=event.time), _places(event.forced)))
    return found


def _places(offsets: Mapping[str, int]) -> dict[Partition, int]:
    places = ((*name.rpartition("/"), at) for name, at in offsets.items())
    return {Partition(topic, int(number)): at for topic, _, number, at in places}


if __name__ == "__main__":
    settings = ValidatorSettings()
    sys.exit(main(SERVICE, lambda progress: report(settings, KafkaBus.of(settings), progress)))
