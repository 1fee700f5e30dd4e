"""A runner that is starved until its group expels it comes back by itself, loses nothing and doubles nothing."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.codec import decode, encode
from pawl_shared.events import PauseCommand, Tick
from pawl_shared.topics import COMMANDS, TOPICS

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]

MODELS = 12
# How long a runner is stopped at least, on top of the time until it is expelled.
STOPPED_SECONDS = float(os.environ.get("PAWL_STOPPED_SECONDS", "0"))


class World:
    """One runner process, started again whenever it ends, as a supervisor does."""

    def __init__(self, servers: str, log: Path) -> None:
        self.service = f"echo-{uuid.uuid4().hex[:8]}"
        self.bus = KafkaBus(servers)
        self.bus.create_topics(TOPICS)
        self.starts = self.sent = 0
        self._admin = AdminClient({"bootstrap.servers": servers})
        self._producer = self.bus.producer("test")
        self._servers, self._path, self._log = servers, log, log.open("wb")
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "support.echoing_runner", self._servers, self.service]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self.child = subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log)
        self.starts += 1

    def close(self) -> None:
        self._producer.close()
        self.child.send_signal(signal.SIGCONT)
        self.child.terminate()
        try:
            self.child.wait(30)
        finally:
            self.child.kill()
            self._log.close()

    def send(self, count: int) -> None:
        for number in range(self.sent, self.sent + count):
            model = f"{self.service}-{number % MODELS}"
            tick = Tick(id=uuid.uuid4(), time=datetime.now(UTC), source="test", model=model, number=number)
            self._producer.send(encode(tick))
        self._producer.flush()
        self.sent += count

    def echoes(self) -> list[PauseCommand]:
        found = [decode(record) for record in self.bus.read(COMMANDS.name) if record]
        return [event for event in found if isinstance(event, PauseCommand) and event.source == self.service]

    def said(self) -> str:
        """By the runner, all starts together."""
        return self._path.read_text()

    def members(self) -> int:
        group = f"pawl-{self.service}"
        try:
            return len(self._admin.describe_consumer_groups([group])[group].result(10).members)
        except KafkaException:  # a coordinator that is busy, or moves
            return -1

    def until(self, condition: Callable[[], bool], seconds: float = 90) -> None:
        give_up = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < give_up, f"did not happen; {self.starts} starts, {len(self.echoes())} echoes"
            if self.child.poll() is not None:
                self.start()
            time.sleep(0.1)


@pytest.fixture
def world(kafka: str, tmp_path: Path) -> Iterator[World]:
    made = World(kafka, tmp_path / "runner.log")
    try:
        yield made
    finally:
        made.close()
        print(made.said())  # noqa: T201


def stop_until_expelled(world: World) -> None:
    world.child.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    world.until(lambda: world.members() == 0 and time.monotonic() - stopped >= STOPPED_SECONDS)


def each_came_back_once(world: World) -> None:
    world.until(lambda: len(world.echoes()) >= world.sent)
    echoes = world.echoes()
    assert Counter(int(echo.who) for echo in echoes) == Counter(range(world.sent))
    for model in {echo.model for echo in echoes}:
        counts = [int(echo.why) for echo in echoes if echo.model == model]
        assert counts == list(range(1, len(counts) + 1))


def test_a_runner_that_was_expelled_goes_on_by_itself(world: World) -> None:
    world.send(100)
    each_came_back_once(world)
    stop_until_expelled(world)
    world.send(100)
    world.child.send_signal(signal.SIGCONT)
    world.send(100)
    each_came_back_once(world)
    world.until(lambda: world.members() == 1)
    # A broker that is starved, too, may take nothing for 15 s: then the transaction ends, and the runner with it.
    assert world.starts == 1 or "failed delivery" in world.said()


@pytest.mark.skipif("PAWL_LONG_TESTS" not in os.environ, reason="takes half a minute: set PAWL_LONG_TESTS=1")
def test_a_runner_that_was_expelled_in_the_middle_of_its_work_doubles_nothing(world: World) -> None:
    world.send(1)
    each_came_back_once(world)
    load = threading.Thread(target=lambda: [world.send(40) for _ in range(100)])
    load.start()
    world.until(lambda: len(world.echoes()) > 200)
    assert load.is_alive()
    stop_until_expelled(world)
    world.child.send_signal(signal.SIGCONT)
    load.join(60)
    each_came_back_once(world)  # it may have had to start again: the broker ends a transaction that stays open
