"""Adapters and whole models change while clients ask: every answer is what its version says alone, and none fails."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from benchmarks.support.tiny_model import write_random_tiny
from prometheus_client import REGISTRY
from support.inference import CANARY, MODEL, eventually, running
from support.tiny_engine import TinyServing
from support.tiny_world import TinyWorld, answered, text_of

from pawl_inference.engine.settings import EngineSettings
from pawl_inference.server import InferenceService
from pawl_inference.versions import residency
from pawl_shared.events import DeployedVersion
from pawl_shared.topics import REPLICAS
from pawl_validator.onnx_export import export_base

pytestmark = pytest.mark.anyio
QUESTIONS = ("Hi", "Why is the sky blue?", "Tell me about dogs, cats, birds and fish.")
SWAPS, CLIENTS, CROWD = 12, 6, 24


@pytest.fixture
def world(tiny: TinyServing, tmp_path: Path) -> TinyWorld:
    return TinyWorld(tmp_path, tiny=tiny, settings=EngineSettings(slots=2, max_batch=4))


@pytest.fixture
def service(world: TinyWorld) -> Iterator[InferenceService]:
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        yield service


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The serving graph of a second base."""
    folder = tmp_path_factory.mktemp("other")
    export_base(write_random_tiny(folder / "hf", seed=1), folder / "graph", base="c" * 64, precision="int8")
    return folder / "graph"


class Load:
    """Clients that ask all the time. `seen`: versions that answered. `faithful`: each asks one model only, and so many
    do that a model in a slot is never without requests."""

    def __init__(self, service: InferenceService, expected: dict[tuple[str, str], str], faithful: bool = False) -> None:
        self._service, self._expected, self._faithful = service, expected, faithful
        self.seen: set[str] = set()
        self.over = False

    async def ask(self, models: tuple[str, ...]) -> None:
        """Until `over`, each client at least once."""
        transport = httpx.ASGITransport(self._service.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://pawl") as client:
            await asyncio.gather(
                *(self._one(client, models, number) for number in range(CROWD if self._faithful else CLIENTS))
            )

    async def _one(self, client: httpx.AsyncClient, models: tuple[str, ...], number: int) -> None:
        for asked in count(number):
            question = QUESTIONS[asked % len(QUESTIONS)]
            model = models[(number if self._faithful else asked) % len(models)]
            body = {"model": model, "messages": [{"role": "user", "content": question}]}
            response = await client.post("/v1/chat/completions", json=body | {"max_tokens": 12, "temperature": 0})
            assert response.status_code == 200, response.text
            version = response.headers["x-pawl-version"]
            assert text_of(response.json()) == self._expected[version, question]
            self.seen.add(version)
            if self.over:
                return


def alone(world: TinyWorld, service: InferenceService, versions: list[DeployedVersion]) -> dict[tuple[str, str], str]:
    """What each version says when nobody else asks; each is the champion in turns, from revision 2 on."""
    expected = {}
    for revision, version in enumerate(versions, 2):
        deployed(world, revision, champion=version)
        for question in QUESTIONS:
            expected[version.version, question] = text_of(answered(service, question))
    assert len(set(expected.values())) > len(QUESTIONS)  # they do differ
    return expected


def deployed(world: TinyWorld, revision: int, **fields: Any) -> None:
    world.deploy(revision, **fields)
    model = fields.get("model", MODEL)
    eventually(lambda: any(report.applied.get(model) == revision for report in world.read(REPLICAS)[-1:]))


async def under_load(load: Load, changes: Any, models: tuple[str, ...] = ("assistant",)) -> None:
    """`changes` runs in a thread while clients ask."""
    asking = asyncio.create_task(load.ask(models))
    try:
        await asyncio.to_thread(changes)
    finally:
        load.over = True
        await asking


async def test_adapters_are_swapped(world: TinyWorld, service: InferenceService) -> None:
    versions = [world.trained(number) for number in range(3)]
    load = Load(service, alone(world, service, versions))

    def changes() -> None:
        for number in range(SWAPS):
            deployed(world, 10 + number, champion=versions[number % 3], change="promoted")
            eventually(lambda number=number: versions[number % 3].version in load.seen)
            load.seen.discard(versions[(number + 1) % 3].version)

    await under_load(load, changes)


@pytest.mark.parametrize("faithful", [False, True])
async def test_more_models_than_slots_take_turns_in_them(
    world: TinyWorld, service: InferenceService, monkeypatch: pytest.MonkeyPatch, faithful: bool
) -> None:
    monkeypatch.setattr(residency, "PATIENCE_SECONDS", 60.0)  # on a busy machine three seconds pass by
    versions = [world.trained(number) for number in range(3)]
    load = Load(service, alone(world, service, versions), faithful)
    names = ("assistant", "writer", "coder")
    for name, version in zip(names, versions, strict=True):
        deployed(world, 20, model=f"default/{name}", champion=version)
    before = REGISTRY.get_sample_value("pawl_inference_version_reloads_total") or 0.0

    def changes() -> None:
        eventually(lambda: (REGISTRY.get_sample_value("pawl_inference_version_reloads_total") or 0.0) > before + 4)

    await under_load(load, changes, names)
    assert load.seen == {version.version for version in versions}


async def test_a_new_version_has_its_slot_while_all_of_them_are_asked_for_all_the_time(
    world: TinyWorld, service: InferenceService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residency, "PATIENCE_SECONDS", 60.0)
    first, second, new = versions = [world.trained(number) for number in range(3)]
    load = Load(service, alone(world, service, versions), faithful=True)
    deployed(world, 20, champion=first)
    deployed(world, 20, model="default/writer", champion=second)

    def changes() -> None:
        eventually(lambda: load.seen == {first.version, second.version})
        deployed(world, 21, champion=first, challenger=new, canary=CANARY, share=0.5, change="canary")
        deployed(world, 22, champion=new, change="promoted")
        eventually(lambda: new.version in load.seen)

    await under_load(load, changes, ("assistant", "writer"))


async def test_a_whole_model_is_loaded_beside_the_old_one_which_drains_and_ends(
    world: TinyWorld, service: InferenceService, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, whole = world.trained(0), world.whole(other)
    load = Load(service, alone(world, service, [adapter, whole]))

    def changes() -> None:
        for number in range(2):
            champion, challenger = (adapter, whole) if number % 2 else (whole, adapter)
            load.seen.clear()
            deployed(world, 30 + 2 * number, champion=champion, challenger=challenger, canary=CANARY, share=0.5)
            eventually(lambda: load.seen == {adapter.version, whole.version})
            old = weakref.ref(service.routes.all()[MODEL].host(challenger).engine)
            deployed(world, 31 + 2 * number, champion=champion, change="promoted")
            eventually(lambda old=old: old() is None)

    monkeypatch.setattr("pawl_inference.versions.hosts.COLLECT_SECONDS", 0.0)
    gc.disable()  # its memory is given back at once, not when Python happens to look
    try:
        await under_load(load, changes)
    finally:
        gc.enable()
    assert len(service.routes.all()[MODEL].hosts) == 1
