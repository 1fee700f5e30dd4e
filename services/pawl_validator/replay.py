"""`python -m pawl_validator.replay`: canaries and deployments, decided again from the log (see `pawl replay`)."""

from __future__ import annotations

import sys
from typing import Any

from pawl_shared.bus import Bus
from pawl_shared.events import CanaryObserved, DeploymentChanged, StageChanged
from pawl_shared.kafka_bus import KafkaBus
from pawl_shared.replay import Plan, Progress, main, replay
from pawl_validator.app import SERVICE
from pawl_validator.domain.canary import CanaryPolicy
from pawl_validator.handlers.folds import DeploymentFold
from pawl_validator.settings import ValidatorSettings

DECIDED = (DeploymentChanged, StageChanged, CanaryObserved)


def report(settings: ValidatorSettings, bus: Bus, progress: Progress) -> dict[str, Any]:
    """What the validator decided, beside what the same fold decides from the log."""
    plan = Plan(SERVICE, (DeploymentFold(CanaryPolicy(), SERVICE),), DECIDED, settings.kept_seen)
    return replay(bus, plan, progress=progress)


if __name__ == "__main__":
    settings = ValidatorSettings()
    sys.exit(main(SERVICE, lambda progress: report(settings, KafkaBus.of(settings), progress)))
