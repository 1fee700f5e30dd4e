"""SIGKILL on a real broker: every answer that a client got is on the topic."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from support.http_service import free_port, ready
from support.inference import World, eventually
from support.sealing import ring_of

from pawl_shared import codec
from pawl_shared.events import InferenceLogged
from pawl_shared.kafka_bus import KafkaBus
from pawl_shared.sealed_events import opened
from pawl_shared.topics import INFERENCES, TOPICS

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@contextmanager
def child(world: World, kafka: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PAWL_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "PAWL_DATA_DIR": str(world.folder / "data"),
        "PAWL_ARTIFACT_URL": f"file://{world.folder / 'artifacts'}",
        "PAWL_HTTP_PORT": str(port),
    }
    with (world.folder / "log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "support.fake_inference"], env=environment, stderr=log)
        try:
            eventually(lambda: ready(f"http://127.0.0.1:{port}"), timeout=60)
            yield process
        finally:
            process.kill()
            process.wait()


def deploy(world: World, bus: KafkaBus, model: str) -> None:
    memory = world.deploy(1, model=model)
    producer = bus.producer("test")
    producer.send(codec.encode(memory)).result(30)
    producer.close()


def test_no_answer_is_lost_and_each_can_be_read(kafka: str, tmp_path: Path) -> None:
    world, bus, port = World(tmp_path), KafkaBus(kafka), free_port()
    bus.create_topics(TOPICS)
    # A broker that is reused keeps its topics: a model of its own keeps this run apart.
    name = f"m{uuid4().hex[:8]}"
    deploy(world, bus, f"default/{name}")
    answered: list[str] = []
    for _ in range(2):
        with child(world, kafka, port) as process, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for number in range(40):
                body = {"model": name, "messages": [{"role": "user", "content": f"question {number}"}]}
                answered.append(client.post("/v1/chat/completions", json=body).json()["id"])
            process.send_signal(signal.SIGKILL)
            process.wait()
    with child(world, kafka, port):
        eventually(lambda: set(answered) <= set(logged(bus, name)), timeout=30)
    # each request is a session with a key of its own, and every key is there
    ring = ring_of(bus, world.folder / "data")
    asked = {key: opened(event, ring).messages[0].content for key, event in logged(bus, name).items()}
    assert {key: asked[key] for key in answered} == {
        key: f"question {number % 40}" for number, key in enumerate(answered)
    }


def logged(bus: KafkaBus, name: str) -> dict[str, InferenceLogged]:
    records = [record for record in bus.read(INFERENCES.name) if record is not None]
    events = [codec.decode(record) for record in records]
    mine = (e for e in events if isinstance(e, InferenceLogged) and e.model == f"default/{name}")
    return {str(event.inference_id): event for event in mine}
