"""The Kafka of the Pawl that a command is about."""

import socket
import time
from pathlib import Path

from pawl_cli.commands.common import errors, running
from pawl_cli.running.note import RunningNote
from pawl_shared.buses import kafka_settings
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Bus
from pawl_shared.errors import PawlError

# A broker that is started again listens after 2.5 s.
LISTENS_SECONDS = 5.0
LOOK_SECONDS = 0.1


class NoBrokerError(PawlError):
    """Nothing listens where Kafka should be."""


def bus_of(note: RunningNote) -> Bus:
    """Raises ConfigurationError, NoBrokerError."""
    started = "where the Pawl of this folder was started: `pawl up` starts it again, if it does not run any more"
    return _cluster(note.kafka, started if note.pid else "check PAWL_KAFKA_BOOTSTRAP_SERVERS (host:port)")


def bus_at(data: Path, kafka: str) -> Bus:
    """The bus of the cluster that is named, or of the Pawl that runs in the folder.

    Raises NotRunningError, ConfigurationError, NoBrokerError.
    """
    return _cluster(kafka, "check --kafka-bootstrap-servers (host:port)") if kafka else bus_of(running(data))


def _cluster(servers: str, advice: str) -> Bus:
    """Connected as PAWL_KAFKA_* in the environment say."""
    bus = KafkaBus.of(kafka_settings.of_environment(servers))
    if not _listens(servers):
        with errors.status(f"waiting for Kafka at {servers}"):
            _wait_for(servers, advice)
    return bus


def _wait_for(servers: str, advice: str) -> None:
    give_up = time.monotonic() + LISTENS_SECONDS
    while not _listens(servers):
        if time.monotonic() > give_up:
            raise NoBrokerError(f"no Kafka listens at {servers}: {advice}")
        time.sleep(LOOK_SECONDS)


def _listens(servers: str) -> bool:
    """Whether somebody does at one of these."""
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=LISTENS_SECONDS).close()
        except (OSError, ValueError):
            continue
        return True
    return False
