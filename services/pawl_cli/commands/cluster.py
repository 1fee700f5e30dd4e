"""The Kafka of the Pawl that a command is about."""

from pathlib import Path

from pawl_cli.commands.common import running
from pawl_cli.running.note import RunningNote
from pawl_shared.buses import kafka_settings
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Bus


def bus_of(note: RunningNote) -> Bus:
    return cluster(note.kafka)


def cluster(servers: str) -> Bus:
    """Connected as PAWL_KAFKA_* in the environment say. Raises ConfigurationError: they contradict each other."""
    return KafkaBus.of(kafka_settings.of_environment(servers))


def bus_at(data: Path, kafka: str) -> Bus:
    """The bus of the cluster that is named, or of the Pawl that runs in the folder.

    Raises NotRunningError, ConfigurationError.
    """
    return cluster(kafka) if kafka else bus_of(running(data))
