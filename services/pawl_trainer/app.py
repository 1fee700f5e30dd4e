"""The only wiring of the trainer."""

from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Bus
from pawl_shared.clock import Clock, SystemClock
from pawl_shared.running.runner import Runner
from pawl_shared.running.runner_service import RunnerService
from pawl_shared.service import Health
from pawl_shared.stores.kafka import KafkaStore
from pawl_shared.stores.port import TransactionalStore
from pawl_shared.topics import TRAINER_STATE
from pawl_trainer.handlers import Train
from pawl_trainer.queue import TRAIN, QueueFold, likely_device
from pawl_trainer.settings import SERVICE, TrainerSettings


def build(
    settings: TrainerSettings,
    *,
    bus: Bus | None = None,
    store: TransactionalStore | None = None,
    artifacts: ArtifactStore | None = None,
    clock: Clock | None = None,
) -> RunnerService:
    """The service, wired; it connects when it runs."""
    bus = bus or KafkaBus.of(settings)
    clock = clock or SystemClock()
    store = store or KafkaStore(bus, SERVICE, TRAINER_STATE, QueueFold.topics, settings.kept_seen, clock)
    artifacts = artifacts or ArtifactStore(settings.artifacts, settings.artifact_cache)
    source = f"pawl-{SERVICE}-{settings.instance}"
    health = Health(SERVICE)
    train = Train(settings, artifacts, clock, source)
    runner = Runner(
        SERVICE,
        source,
        settings.instance,
        bus,
        store,
        (QueueFold(source, likely_device()),),
        {TRAIN: train},
        on_ready=lambda: health.clear("start"),
    )
    return RunnerService(settings, runner, health, bus)
