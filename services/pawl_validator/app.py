"""The only wiring of the validator."""

from __future__ import annotations

from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Bus
from pawl_shared.clock import Clock, SystemClock
from pawl_shared.running.effects import EffectHandler
from pawl_shared.running.runner import Runner
from pawl_shared.running.runner_service import RunnerService
from pawl_shared.service import Health
from pawl_shared.stores.kafka import KafkaStore
from pawl_shared.stores.port import TransactionalStore
from pawl_shared.topics import VALIDATOR_STATE
from pawl_validator.domain.canary import CanaryPolicy
from pawl_validator.handlers.candidates import EVALUATE
from pawl_validator.handlers.effects import Evaluate, Jobs, Register
from pawl_validator.handlers.folds import REGISTER, DeploymentFold
from pawl_validator.settings import SERVICE, ValidatorSettings


def build(
    settings: ValidatorSettings,
    *,
    bus: Bus | None = None,
    store: TransactionalStore | None = None,
    artifacts: ArtifactStore | None = None,
    clock: Clock | None = None,
    handlers: dict[str, EffectHandler] | None = None,
) -> RunnerService:
    """The service, wired; it connects when it runs. `handlers` replaces the work that effects stand for."""
    bus = bus or KafkaBus.of(settings)
    clock = clock or SystemClock()
    store = store or KafkaStore(bus, SERVICE, VALIDATOR_STATE, DeploymentFold.topics, settings.kept_seen, clock)
    artifacts = artifacts or ArtifactStore(settings.artifacts, settings.artifact_cache)
    source = f"pawl-{SERVICE}-{settings.instance}"
    health, jobs = Health(SERVICE), Jobs(settings)
    runner = Runner(
        SERVICE,
        source,
        settings.instance,
        bus,
        store,
        (DeploymentFold(CanaryPolicy(), source),),
        handlers
        or {
            REGISTER: Register(settings, jobs, artifacts, health, clock, source),
            EVALUATE: Evaluate(settings, jobs, artifacts, clock, source),
        },
        on_ready=lambda: health.clear("start"),
    )
    return RunnerService(settings, runner, health, bus)
