"""SIGKILL on a real broker: every answer that a client got is on the topic."""

import signal
from pathlib import Path

import httpx
import pytest
from support.inference import World, eventually
from support.inference_process import deploy, inference_process, logged
from support.sealing import ring_of

from pawl_cli.running.ports import any_free
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.sealed.events import opened
from pawl_shared.topics import TOPICS

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
FAKE = "support.fake_inference"


def test_no_answer_is_lost_and_each_can_be_read(broker: str, tmp_path: Path) -> None:
    world, bus, port = World(tmp_path), KafkaBus(broker), any_free()
    bus.create_topics(TOPICS)
    deploy(world, bus)
    answered: list[str] = []
    for _ in range(2):
        with (
            inference_process(world, broker, port, FAKE) as process,
            httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            for number in range(40):
                body = {"model": "assistant", "messages": [{"role": "user", "content": f"question {number}"}]}
                answered.append(client.post("/v1/chat/completions", json=body).json()["id"])
            process.send_signal(signal.SIGKILL)
            process.wait()
    with inference_process(world, broker, port, FAKE):
        eventually(lambda: set(answered) <= set(logged(bus)), timeout=30)
    # each request is a session with a key of its own, and every key is there
    ring = ring_of(bus, world.folder / "data")
    asked = {key: opened(event, ring).messages[0].content for key, event in logged(bus).items()}
    assert {key: asked[key] for key in answered} == {
        key: f"question {number % 40}" for number, key in enumerate(answered)
    }
