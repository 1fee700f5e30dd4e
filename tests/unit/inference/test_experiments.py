"""Experiments at the edge: arms, what they change of a request, and what is logged of it."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from support.inference import BASE, MODEL, World, digest, eventually, running

from pawl_inference.domain import arm as arms
from pawl_inference.server import InferenceService
from pawl_shared.events import DeployedVersion, Experiment, ExperimentArm, InferenceLogged, Message, Sampling
from pawl_shared.ids import arm_of
from pawl_shared.topics import INFERENCES, REPLICAS

EXPERIMENT = UUID(int=11)
KIND = "Be kind."
SERVED = DeployedVersion(version=BASE, base=BASE, graph=BASE)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def service(world: World) -> Iterator[InferenceService]:
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        yield service


@pytest.fixture
def client(service: InferenceService) -> TestClient:
    return TestClient(service.asgi, raise_server_exceptions=False)


def begin(world: World, service: InferenceService, *changes: dict[str, Any], share: float = 0.3) -> None:
    """An experiment of the plain champion and of arms that differ in this."""
    plain = ExperimentArm(name="plain", share=share, served=world.base())
    others = (
        ExperimentArm(**{"name": f"arm{number}", "share": share, "served": world.base(), **each})
        for number, each in enumerate(changes, 1)
    )
    experiment = Experiment(id=EXPERIMENT, name="tone", arms=(plain, *others), alpha=0.05)
    world.deploy(2, experiment=experiment, change="experiment")
    eventually(lambda: any(report.applied.get(MODEL) == 2 or report.problems for report in world.read(REPLICAS)))


def session_of(number: int | None, shares: tuple[float, ...]) -> str:
    names = (f"session {n}" for n in range(1000))
    return next(name for name in names if arm_of(EXPERIMENT, name, shares) == number)


def post(client: TestClient, session: str, text: str = "Hello there", **fields: Any) -> dict[str, Any]:
    body = {"model": "assistant", "messages": [{"role": "user", "content": text}], "metadata": {"session_id": session}}
    response = client.post("/v1/chat/completions", json=body | fields)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def last(world: World, count: int) -> InferenceLogged:
    found = eventually(lambda: found if len(found := world.read(INFERENCES)) >= count else None)
    event = max(found, key=lambda each: each.time)  # sessions lie in several partitions
    assert isinstance(event, InferenceLogged)
    return event


def test_each_arm_changes_what_the_request_left_open(
    client: TestClient, world: World, service: InferenceService
) -> None:
    shares = (0.3, 0.3, 0.3)
    begin(world, service, {"system": KIND, "max_tokens": 2}, {"temperature": 0.2, "served": world.adapter("other")})
    assert post(client, session_of(0, shares))["metadata"]["arm"] == "champion"
    event = last(world, 1)
    assert (event.experiment, event.experiment_arm, event.prompt_version) == (EXPERIMENT, "plain", "")

    answer = post(client, session_of(1, shares))
    assert (answer["metadata"]["arm"], answer["usage"]["completion_tokens"]) == ("experiment", 2)
    assert world.engine.conversations[-1][0] == {"role": "system", "content": KIND}
    event = last(world, 2)
    assert (event.arm, event.experiment_arm, event.sampling.max_tokens) == ("experiment", "arm1", 2)
    assert [message.role for message in event.messages] == ["user"], "what the app sent, as it sent it"
    assert event.prompt_version == sha256(KIND.encode()).hexdigest()

    assert post(client, session_of(2, shares))["system_fingerprint"] == digest("other")
    assert (world.engine.requests[-1].sampling.temperature, last(world, 3).sampling.temperature) == (0.2, 0.2)
    post(client, session_of(2, shares), temperature=0.9)
    assert last(world, 4).sampling.temperature == 0.9, "what a request names holds in every arm"

    post(client, session_of(None, shares))
    event = last(world, 5)
    assert (event.arm, event.experiment, event.experiment_arm) == ("champion", None, "")


def test_a_pinned_request_is_outside(client: TestClient, world: World, service: InferenceService) -> None:
    begin(world, service, {"system": KIND})
    body = post(client, session_of(1, (0.3, 0.3)), model=f"assistant@{BASE[:8]}")
    assert body["metadata"]["arm"] == "pinned"
    assert last(world, 1).experiment is None


def test_a_prompt_that_does_not_fit_is_left_out_and_the_session_stays_in_its_arm(
    client: TestClient, world: World, service: InferenceService
) -> None:
    begin(world, service, {"system": "Be kind. " * 15})
    session = session_of(1, (0.3, 0.3))
    post(client, session, "word " * 50)
    event = last(world, 1)
    assert (event.experiment_arm, event.arm, event.prompt_version) == ("arm1", "experiment", "")
    assert [message["role"] for message in world.engine.conversations[-1]] == ["user"]


def test_a_replica_that_cannot_load_an_arm_serves_the_champion_outside_of_the_experiment(
    client: TestClient, world: World, service: InferenceService
) -> None:
    begin(world, service, {"served": world.adapter("fine")}, {"served": world.adapter("bad")})
    report = eventually(lambda: next((r for r in world.read(REPLICAS) if r.problems), None))
    assert "not_finite" in report.problems[0]
    assert (report.applied, report.healthy) == ({MODEL: 1}, True)
    for arm in (0, 1, 2):
        assert post(client, session_of(arm, (0.3,) * 3))["metadata"]["arm"] == "champion"
    assert last(world, 3).experiment is None
    world.deploy(3, change="experiment-over")
    eventually(lambda: any(report.applied.get(MODEL) == 3 for report in world.read(REPLICAS)))
    assert world.read(REPLICAS)[-1].problems == ()


def test_versions_of_arms_are_let_go_with_it(client: TestClient, world: World, service: InferenceService) -> None:
    begin(world, service, {"served": world.adapter("one")}, {"served": world.adapter("two")})
    assert {digest("one"), digest("two")} <= world.engine.versions()
    world.deploy(3, change="experiment-over")
    eventually(lambda: world.engine.versions() == {BASE})


def test_the_prompt_is_joined_to_the_apps_own() -> None:
    arm = ExperimentArm(name="kind", share=0.5, served=SERVED, system=KIND)
    own, question = Message(role="system", content="You sell shoes."), Message(role="user", content="Hi")
    joined = arms.conversation(arm, (own, question))
    assert [message.content for message in joined] == ["Be kind.\n\nYou sell shoes.", "Hi"]
    assert arms.conversation(None, (own, question)) == (own, question)
    assert arms.sampling(None, Sampling(), None, None) == Sampling()
