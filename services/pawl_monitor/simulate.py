"""`python -m pawl_monitor.simulate FILE`: a policy tried on the log, for `pawl policy simulate`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.handlers.simulation import Counted, Happening, SimulationFold
from pawl_monitor.settings import SERVICE, MonitorSettings
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Bus
from pawl_shared.events import DriftDetected, RetrainRequested
from pawl_shared.policies.model_policy import ModelPolicy
from pawl_shared.running.rebuild import Plan, Progress, logged, rebuild
from pawl_shared.running.replay import tell


class Simulation(BaseModel):
    """What to try: a policy, and the usable feedback with its times (see /api/usable)."""

    policy: ModelPolicy
    feedback: list[tuple[datetime, str]]


def report(simulation: Simulation, bus: Bus, progress: Progress) -> dict[str, Any]:
    """What the policy would have decided, in order, beside how often the log has it. Raises BusError."""
    policy, feedback = simulation.policy, Counted(simulation.feedback)
    fold = SimulationFold(policy.model, WatchPolicy().of(policy), feedback)
    said: list[Happening] = []
    plan = Plan(f"{SERVICE}-simulation", (fold,), ())
    rebuilt = rebuild(bus, plan, lambda owed: said.append(Happening.model_validate_json(owed.payload)), progress)
    decided = [each for each in logged(bus, (DriftDetected, RetrainRequested)).values() if each.key == policy.model]
    return {
        "service": SERVICE,
        "model": policy.model,
        "digest": policy.digest,
        "records": rebuilt.records,
        "happenings": [happening.model_dump(mode="json") for happening in said],
        "fired": sum(happening.what == "fired" for happening in said),
        "alarms": sum(happening.what == "alarm" for happening in said),
        "logged": {
            "fired": sum(isinstance(each, RetrainRequested) for each in decided),
            "alarms": sum(isinstance(each, DriftDetected) for each in decided),
        },
    }


def main(path: Path) -> int:
    """Exit status: 0 done, 1 it could not be done."""
    simulation = Simulation.model_validate_json(path.read_bytes())
    bus = KafkaBus.of(MonitorSettings())
    return 1 if tell(SERVICE, lambda progress: report(simulation, bus, progress)) is None else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
