"""Answers of another provider, from the post to the alarm: edge, the fold of streams and monitor, in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.inference import World as Edge
from support.inference import eventually, running
from support.monitor import GAP, World
from support.sealing import ring_of

from pawl_inference.domain.external import version_of
from pawl_inference.settings import InferenceSettings
from pawl_shared import events as e
from pawl_shared.access.tokens import key_ring
from pawl_shared.topics import FEEDBACK, INFERENCES
from pawl_streams.fold import JoinFold
from pawl_streams.records import Batch

MODEL = "default/support"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "monitor", model=MODEL)
    yield world
    world.close()


def told(client: TestClient, first: int, number: int, thumb: str) -> None:
    """So many answers, each of a session of its own, and what people thought of them."""
    answers = [
        {
            "model": "support", "session": f"visit {n}", "provider": "openai", "provider_model": "gpt-5-mini",
            "messages": [{"role": "user", "content": f"What is {n % 40}?"}], "answer": f"It is number {n}.",
        }
        for n in range(first, first + number)
    ]  # fmt: skip
    made = client.post("/v1/inferences", json={"inferences": answers}).json()["inferences"]
    said = [{"inference_id": each["id"], "token": each["feedback_token"], "thumb": thumb} for each in made]
    assert client.post("/v1/feedback", json={"events": said}).status_code == 202


def test_falling_thumbs_of_answers_made_elsewhere_raise_an_alarm(world: World, tmp_path: Path) -> None:
    edge = Edge(tmp_path)
    with running(edge) as service:
        client = TestClient(service.asgi)
        told(client, 0, 60, "up")
        told(client, 60, 30, "down")
        eventually(lambda: service.journal.backlog == 0)
    tokens = key_ring(InferenceSettings(data_dir=tmp_path / "data"))
    states: dict[str, Any] = {}
    batch = Batch(JoinFold("streams", lambda _: "en"), tokens, ring_of(edge.bus, tmp_path / "data"), states.get)
    for topic in (INFERENCES, FEEDBACK):
        for record in edge.bus.read(topic.name):
            assert record is not None
            assert batch.add(record) is not None
    assert len(batch.messages) == 180
    for early in (True, False):
        for message in batch.messages:
            assert message.key is not None
            if (int(message.key.split()[-1]) < 60) == early:
                world._producer.send(message)
        world.tick(1)
        world.tick(GAP.total_seconds() + 1)
    sessions = world.events(e.SessionObserved)
    assert {(each.arm, each.revision, each.canary) for each in sessions} == {("external", 0, None)}
    assert [each.reward for each in sessions] == [1.0] * 60 + [0.0] * 30
    (alarm,) = world.events(e.DriftDetected)
    assert (alarm.model, alarm.direction, alarm.version) == (MODEL, "drop", version_of("openai", "gpt-5-mini"))
    assert alarm.sentence.endswith("the model is not deployed here.")
