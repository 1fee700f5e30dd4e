"""All of Pawl on one machine: the broker, the topics, the registration of the model, the five services."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
from pydantic import ValidationError

from pawl_cli import api_keys
from pawl_cli.log import follow, policies
from pawl_cli.running import ports
from pawl_cli.running.data_folder import DataFolder
from pawl_cli.running.embedded_kafka import EmbeddedKafka, answers
from pawl_cli.running.note import RunningNote
from pawl_cli.running.process import STEADY_HEAP, Program
from pawl_cli.running.supervise import Happening, Supervisor
from pawl_shared.access.api_keys import Scope
from pawl_shared.access.service import check_host
from pawl_shared.buses import kafka_settings
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.kafka_settings import KafkaSettings, problems
from pawl_shared.errors import ConfigurationError, PawlError
from pawl_shared.events import RegisterModelCommand
from pawl_shared.policies.model_policy import ModelPolicy
from pawl_shared.policies.values import DEFAULT_MODEL
from pawl_shared.settings import PawlSettings
from pawl_shared.topics import DEPLOYMENTS, TOPICS

SERVICES = ("inference", "streams", "monitor", "trainer", "validator")
# For those who let apps talk to it: ports that people know by heart, where they are free.
KNOWN_PORTS: Mapping[str, int] = {"inference": 8000, "monitor": 8080}
# How the validator says in /readyz how far the base model is: "40% serving graph: building".
SHARE_DONE = re.compile(r"(\d+)% (.*)")
READY_TIMEOUT = 900.0  # seconds; the first start fetches, converts and exports the base model


class StackError(PawlError):
    """Pawl did not come up; the message says which service and shows the end of its log."""


@dataclass(frozen=True)
class Wanted:
    """A model that is to be served. `policy`: none: the one that is valid, or else Pawl's defaults."""

    model: str = DEFAULT_MODEL
    policy: ModelPolicy | None = None


@dataclass(frozen=True)
class Options:
    """What to run."""

    data: Path
    models: tuple[Wanted, ...] = (Wanted(),)
    base: str = "smollm2-135m-instruct"
    kafka: str = ""  # bootstrap servers of a cluster; empty: the embedded one
    ports: Mapping[str, int] = field(default_factory=dict)  # wanted ones by service; the others get any free one
    environment: Mapping[str, str] = field(default_factory=dict)  # PAWL_* settings for all services
    scopes: tuple[Scope, ...] = ()  # what the key that this machine shows has to be for, where keys are asked for

    @property
    def model(self) -> str:
        """The first one's name."""
        return self.models[0].model


# Told what is going on: a step's name, its share done (None: not known), and a few words.
Progress = Callable[[str, float | None, str], None]


class Stack:
    """Started once, polled, stopped; use `running()` so that it is stopped whatever happens."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.supervisor = Supervisor()
        self.urls: dict[str, str] = {}
        self.bus: KafkaBus
        self.key = ""  # what this machine's commands show to services; empty: no key is asked for
        self._folder = DataFolder(options.data)
        self._programs: dict[str, Program] = {}
        # one client: making one costs 20 ms of CPU for certificates that nobody needs here
        self._probe = httpx.Client(timeout=2)

    def start(self, progress: Progress) -> None:
        """Blocks until every service is ready.

        Raises DataFolderInUseError, ConfigurationError, JarError, KafkaStartError, or StackError with the end of the
        log in question.
        """
        settings = settings_of(self.options.data)
        check_host(settings)
        self._folder.acquire()
        self.key = api_keys.for_commands(self.options.data, settings.api_keys, self.options.scopes)
        self._probe.headers.update(api_keys.shown(self.key))
        cluster = self._cluster(progress)
        servers = cluster.kafka_bootstrap_servers
        self.bus = KafkaBus.of(cluster)
        progress("topics", None, "")
        self.bus.create_topics(TOPICS)
        for wanted in self.options.models:
            self._register(wanted)
        self._start_services(servers, self.options.environment.get("PAWL_HTTP_HOST", settings.http_host))
        environment = {"PAWL_ARTIFACT_URL": settings.artifacts, **self.options.environment}
        self._folder.write_note(RunningNote(os.getpid(), servers, self.urls, environment, str(settings.api_keys)))
        self._wait_until_ready(progress)

    def poll(self) -> list[Happening]:
        """Keep it running; answers what happened to the processes."""
        return self.supervisor.poll()

    def stop(self) -> None:
        """Services first, the broker last, bounded in time; then the folder is free again."""
        self.supervisor.stop()
        self._probe.close()
        self._folder.release()

    def obstacles(self) -> dict[str, str]:
        """Why each service is not ready, or a model is not served; empty when all are."""
        found = {}
        for name, url in self.urls.items():
            try:
                response = self._probe.get(f"{url}/readyz")
                if response.status_code != 200:
                    found[name] = response.text.strip()
            except httpx.HTTPError:
                found[name] = "it does not answer yet"
        waiting = {wanted.model for wanted in self.options.models} - self._deployed() if not found else set()
        return found or ({"validator": f"registers {', '.join(sorted(waiting))}"} if waiting else {})

    def _cluster(self, progress: Progress) -> KafkaSettings:
        wanted = kafka_settings.of_environment(self.options.kafka)
        if not self.options.kafka:
            if wanted.kafka_security_protocol != "PLAINTEXT":
                raise StackError(
                    "PAWL_KAFKA_SECURITY_PROTOCOL is for a cluster of yours: name it with --kafka-bootstrap-servers"
                )
            return kafka_settings.of_environment(self._start_kafka(progress))
        if not answers(wanted):
            raise StackError(
                f"no Kafka answers at {self.options.kafka}: check --kafka-bootstrap-servers, or leave it out; "
                "a cluster that asks for a login or TLS needs PAWL_KAFKA_SECURITY_PROTOCOL (docs/settings.md)"
            )
        return wanted

    def _start_kafka(self, progress: Progress) -> str:
        def jars(done: int, total: int) -> None:
            progress("Kafka's jars", done / total, f"{done} of {total}")

        broker = EmbeddedKafka(self.options.data / "kafka", jars)
        progress("Kafka", None, "")
        self.supervisor.start(broker)
        return broker.bootstrap_servers

    def _register(self, wanted: Wanted) -> None:
        """Its policy, so that all that is decided has one; then ask for the model, unless this base was asked for last
        and serves: one that failed is then tried again."""
        model, policy = wanted.model, wanted.policy
        known = policies.known(self.bus, model)
        if policy is not None or known.valid is None:
            policies.apply_policy(self.bus, policy or ModelPolicy(model=model), known, "pawl up", "start")
        base = (policy.base if policy else None) or self.options.base
        if model in self._deployed() and known.base == base:
            return
        command = RegisterModelCommand(
            id=uuid4(), time=datetime.now(UTC), source="pawl-cli", model=model, base=base, who="pawl up", why="start"
        )
        policies.publish(self.bus, command)

    def _deployed(self) -> set[str]:
        return {getattr(event, "model", "") for event in follow.everything(self.bus, DEPLOYMENTS)}

    def _start_services(self, servers: str, host: str) -> None:
        data = self.options.data
        chosen = ports.choose(data / "ports.json", {name: self.options.ports.get(name, 0) for name in SERVICES}, host)
        for name, port in chosen.items():
            environment = {
                "PYTHONUNBUFFERED": "1",
                "PAWL_KAFKA_BOOTSTRAP_SERVERS": servers,
                "PAWL_DATA_DIR": str(data),
                "PAWL_HTTP_PORT": str(port),
                **(STEADY_HEAP if name == "inference" else {}),
                **self.options.environment,
            }
            log = data / "logs" / f"{name}.log"
            self._programs[name] = Program(name, [sys.executable, "-m", f"pawl_{name}"], log, environment)
            self.urls[name] = ports.url(host, port)
            self.supervisor.start(self._programs[name])

    def _wait_until_ready(self, progress: Progress) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        while obstacles := self.obstacles():
            self._report(self.poll(), progress)
            ready = len(self.urls) - len(obstacles)
            words = "; ".join(f"{name}: {reason.splitlines()[0]}" for name, reason in obstacles.items() if reason)
            if export := SHARE_DONE.search(obstacles.get("validator", "")):
                progress("base model", int(export[1]) / 100, export[2])
            else:
                progress("services", ready / len(self.urls), words)
            if time.monotonic() > deadline:
                raise StackError(f"not ready after {READY_TIMEOUT:.0f} s: {words}. Logs: {self.options.data / 'logs'}")
            time.sleep(0.5)
        progress("services", 1.0, "ready")

    def _report(self, happenings: list[Happening], progress: Progress) -> None:
        """Raises StackError when one of them is final."""
        for happening in happenings:
            progress(f"{happening.unit} {happening.text}", None, "")
            if happening.final:
                program = self._programs.get(happening.unit)
                log = f"\n{program.log} ends with:\n{program.log_tail()}" if program else ""
                raise StackError(f"{happening.unit} {happening.text}.{log}")


def settings_of(data: Path) -> PawlSettings:
    """What the environment says to all services. Raises ConfigurationError."""
    try:
        return PawlSettings(data_dir=data)
    except ValidationError as error:
        raise ConfigurationError("; ".join(problems(error))) from error


@contextmanager
def running(options: Options, progress: Progress) -> Iterator[Stack]:
    """A started stack; stopped at the end of the block, and also when the start fails or is interrupted."""
    stack = Stack(options)
    try:
        stack.start(progress)
        yield stack
    finally:
        progress("stopping", None, "")
        stack.stop()
