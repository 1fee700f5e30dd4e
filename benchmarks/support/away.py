"""Answers and feedback under load while the broker is killed, stays away and comes back; then the books are audited."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.support.http_load import Connection, request

from pawl_cli.running import ports
from pawl_cli.running.embedded_kafka import EmbeddedKafka
from pawl_shared import codec
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.topics import FEEDBACK, INFERENCES, TOPICS, Topic

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
World: Any = importlib.import_module("support.inference").World  # the fake engine is the tests' own

CLIENTS = 6
TRIES = 40
PATIENCE_SECONDS = 120.0


@dataclass
class Outcome:
    """What clients were told, and what the topics have."""

    answers: list[str] = field(default_factory=list)
    feedback: dict[str, str] = field(default_factory=dict)  # id of the event: the answer it is about
    refused: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0  # seconds until a post had its answer
    lost: int = 0
    doubled: int = 0  # answers with more than one statement, under different ids
    repeated: int = 0  # records with an id that stands before them


class BrokerAway:
    """One inference service with a fake engine, one broker, and clients that never stop asking."""

    def __init__(self, folder: Path, timeout: float) -> None:
        self._folder, self._timeout = folder, timeout
        self._broker = EmbeddedKafka(folder / "kafka")
        self._broker.start()
        self._bus = KafkaBus(self._broker.bootstrap_servers)
        self._bus.create_topics(TOPICS)
        world = World(folder)
        producer = self._bus.producer("benchmark")
        producer.send(codec.encode(world.deploy(1))).result(30)
        producer.close()
        self._port = ports.choose(folder / "ports.json", {"http": 0})["http"]
        self._service = self._start()

    def run(self, away: float, around: float) -> Outcome:
        """Load for `around` seconds, then without a broker for `away`, then until feedback is accepted again."""
        outcome, stop = Outcome(), threading.Event()
        # The broker dies with the thread that started it, so that is this one, and the load runs in another.
        with ThreadPoolExecutor(1) as pool:
            load = pool.submit(lambda: asyncio.run(self._load(outcome, stop)))
            try:
                self._happen(outcome, load, away, around)
            finally:
                stop.set()
            load.result(PATIENCE_SECONDS)
        self._audit(outcome)
        return outcome

    def _happen(self, outcome: Outcome, load: Future[None], away: float, around: float) -> None:
        _until(lambda: len(outcome.feedback) >= CLIENTS, load)
        time.sleep(around)
        self._broker.kill()
        time.sleep(away)
        _until(lambda: outcome.refused[503] > 0, load)
        self._broker.start()
        before = len(outcome.feedback)
        _until(lambda: len(outcome.feedback) >= before + CLIENTS, load)
        time.sleep(around)

    def close(self) -> None:
        self._service.terminate()
        self._service.wait(60)
        self._broker.stop()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PAWL_KAFKA_BOOTSTRAP_SERVERS": self._broker.bootstrap_servers,
            "PAWL_DATA_DIR": str(self._folder / "data"),
            "PAWL_ARTIFACT_URL": f"file://{self._folder / 'artifacts'}",
            "PAWL_HTTP_PORT": str(self._port),
            "PAWL_FEEDBACK_TIMEOUT_SECONDS": str(self._timeout),
        }
        log = (self._folder / "inference.log").open("wb")
        return subprocess.Popen(
            [sys.executable, "-m", "support.fake_inference"], env=environment, stdout=log, stderr=log
        )

    # ------------------------------------------------------------ load

    async def _load(self, outcome: Outcome, stop: threading.Event) -> None:
        await self._ready()
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client(outcome, stop))

    async def _ready(self) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        body = request("/v1/chat/completions", _question())
        while True:
            with contextlib.suppress(OSError):
                connection = await Connection.to(self._port)
                if (await connection.exchange(body)).status == 200:
                    return
            assert time.monotonic() < give_up, "the service did not get ready"
            await asyncio.sleep(0.1)

    async def _client(self, outcome: Outcome, stop: threading.Event) -> None:
        """Asks, rates what it is told, and posts again with the same key where that was refused."""
        connection = await Connection.to(self._port)
        while not stop.is_set():
            answered = await connection.exchange(request("/v1/chat/completions", _question()))
            assert answered.status == 200, answered
            body = json.loads(answered.body)
            outcome.answers.append(body["id"])
            token = body["metadata"]["feedback_token"]
            thumb = {"inference_id": body["id"], "token": token, "thumb": "up"}
            post = request("/v1/feedback", thumb, idempotency_key=uuid.uuid4().hex)
            for _ in range(TRIES):
                began = time.monotonic()
                given = await connection.exchange(post)
                outcome.slowest = max(outcome.slowest, time.monotonic() - began)
                if given.status == 202:
                    outcome.feedback |= dict.fromkeys(json.loads(given.body)["ids"], body["id"])
                    break
                outcome.refused[given.status] += 1
                assert given.status == 503, given
                assert int(given.headers["retry-after"]) > 0
                await asyncio.sleep(0.25)
                if stop.is_set():
                    break
        connection.close()

    # ------------------------------------------------------------ audit

    def _audit(self, outcome: Outcome) -> None:
        """Waits for the journal to be sent, as long as something is missing."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            answers = Counter(str(event.inference_id) for event in self._events(INFERENCES))
            statements = Counter((str(event.id), str(event.inference_id)) for event in self._events(FEEDBACK))
            known = {identity for identity, _ in statements}
            lost = (set(outcome.answers) - answers.keys()) | (outcome.feedback.keys() - known)
            if not lost or time.monotonic() > give_up:
                break
            time.sleep(0.5)
        outcome.lost = len(lost)
        outcome.doubled = sum(count > 1 for count in Counter(answer for _, answer in statements).values())
        outcome.repeated = sum(statements.values()) - len(statements) + sum(answers.values()) - len(answers)

    def _events(self, topic: Topic) -> list[Any]:
        return [codec.decode(record) for record in self._bus.read(topic.name) if record]


def _until(condition: Callable[[], bool], load: Future[None]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if load.done():
            load.result()
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.05)


def _question() -> dict[str, object]:
    return {"model": "assistant", "messages": [{"role": "user", "content": "What is a pawl?"}]}
