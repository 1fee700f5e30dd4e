"""Versions that are loaded again: whose turn it is, and what becomes of a load that nobody waits for any more."""

import asyncio
import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from support.fake_engine import FakeEngine
from support.inference import World, eventually, running

from pawl_inference.bodies.chat_body import ChatRequest
from pawl_inference.engine.port import NoFreeSlotError
from pawl_inference.errors import ApiError
from pawl_inference.handlers.prompts import ChatPrompt
from pawl_inference.server import InferenceService
from pawl_inference.versions import residency
from pawl_inference.versions.hosts import Host
from pawl_inference.versions.residency import NotLoadedError, Residency
from pawl_shared.errors import ArtifactError
from pawl_shared.events import DeployedVersion
from pawl_shared.topics import INFERENCES

BASE, GRAPH = "b" * 64, "c" * 64


class Slow:
    """Artifacts that are lost, which takes a while to find out."""

    def __init__(self) -> None:
        self.answer = threading.Event()

    def fetch_file(self, digest: str) -> Any:
        self.answer.wait(30)
        raise ArtifactError(f"{digest[:3]} is gone")

    fetch_folder = fetch_file


class Files:
    def fetch_file(self, digest: str) -> Path:
        return Path(digest)

    fetch_folder = fetch_file


class Busy(FakeEngine):
    """All its slots are held until a version insists `times` times. `tries`: what was published, insisting or not."""

    def __init__(self, times: int = 0) -> None:
        super().__init__(BASE, GRAPH)
        self.tries: list[tuple[str, bool]] = []
        self._times = times

    def publish(self, version: str, slot_file: Path, *, insist: bool = False) -> None:
        self.tries.append((version[:1], insist))
        if sum(insisting for _, insisting in self.tries) < self._times:
            raise NoFreeSlotError("all are held")


def missing(engine: FakeEngine, version: str = "a", graph: str = GRAPH) -> NotLoadedError:
    served = DeployedVersion(version=(version * 64)[:64], base=BASE, graph=graph, slot_file="d" * 64)
    return NotLoadedError(Host(engine), served)


def test_a_load_that_fails_after_all_have_left_is_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "PATIENCE_SECONDS", 0.01)
    artifacts, reported = Slow(), list[dict[str, Any]]()
    loads = Residency(artifacts)

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        for _ in range(2):
            with pytest.raises(ApiError, match="still being loaded"):
                async with loads.loaded(missing(Busy())):
                    pass
        ending = asyncio.wrap_future(loads._loading[GRAPH, "a" * 64].over)
        artifacts.answer.set()
        with pytest.raises(ArtifactError):
            await ending
        gc.collect()

    asyncio.run(scenario())
    loads.close()
    assert reported == []


def test_no_version_takes_the_slot_of_one_whose_requests_have_not_begun() -> None:
    engine, loads = Busy(), Residency(Files())

    async def scenario() -> None:
        begins = asyncio.Event()

        async def request(version: str) -> None:
            async with loads.loaded(missing(engine, version)):
                if version == "a":
                    await begins.wait()

        first = asyncio.create_task(request("a"))
        while engine.tries != [("a", False)] or loads._loading:
            await asyncio.sleep(0)
        other = asyncio.create_task(request("e"))
        assert not (await asyncio.wait([other], timeout=0.2))[0]
        assert len(engine.tries) == 1
        begins.set()
        await asyncio.gather(first, other)

    asyncio.run(scenario())
    loads.close()
    assert engine.tries == [("a", False), ("e", False)]


def test_a_version_whose_turn_it_is_insists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "TURN_SECONDS", 0.1)
    engine, loads = Busy(times=2), Residency(Files())

    async def scenario() -> None:
        async with loads.loaded(missing(engine)):
            pass

    asyncio.run(scenario())
    loads.close()
    assert engine.tries[0] == ("a", False)
    assert engine.tries[-2:] == [("a", True), ("a", True)]


def test_who_waits_for_a_slot_of_one_base_keeps_no_other_base_waiting() -> None:
    loads = Residency(Files())

    async def request(engine: FakeEngine, graph: str, version: str = "a") -> None:
        async with loads.loaded(missing(engine, version, graph)):
            pass

    async def scenario() -> None:
        held = Busy(times=1_000_000)
        waits = [asyncio.create_task(request(held, GRAPH, version)) for version in "0123456789abcdef"]
        while not held.tries:
            await asyncio.sleep(0)
        with pytest.raises(ApiError, match="Too many"):
            await request(held, GRAPH, "01")
        await request(Busy(), "f" * 64)
        assert not any(each.done() for each in waits)
        await asyncio.to_thread(eventually, lambda: list(loads._threads) == [GRAPH])
        loads.close()
        found = await asyncio.gather(*waits, return_exceptions=True)
        assert all(isinstance(each, ApiError) for each in found)

    asyncio.run(scenario())


def test_who_waits_for_a_slot_gives_up_when_the_service_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = Residency(Files())

    async def scenario() -> None:
        asyncio.get_running_loop().call_later(0.1, loads.close)
        async with loads.loaded(missing(Busy(times=1_000))):
            pass

    with pytest.raises(ApiError, match="all are held"):
        asyncio.run(scenario())


def test_a_request_that_waited_for_its_version_leaves_nothing_to_the_collector_of_cycles(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deploy(1, champion=world.adapter("a"))
    with running(world) as service:
        eventually(lambda: service.health.ready)
        world.engine.published.clear()  # it made room for others
        gc.disable()
        try:
            left = asyncio.run(asked(service))
            eventually(lambda: left() is None)  # the thread that loads had it as well
        finally:
            gc.enable()


async def asked(service: InferenceService, **headers: str) -> "weakref.ref[ChatPrompt]":
    """The prompt of a request that was begun and given up."""
    body = ChatRequest.model_validate({"model": "assistant", "messages": [{"role": "user", "content": "Hi"}]})
    prompt = ChatPrompt(body.messages)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    (await service.answers.answer(body, [prompt], headers)).close()
    return weakref.ref(prompt)


@pytest.mark.parametrize("times", [1, 2])
def test_a_slot_that_a_deployment_took_before_the_request_began_is_filled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    world = World(tmp_path)
    world.deploy(1, champion=world.adapter("a"))
    with running(world) as service:
        eventually(lambda: service.health.ready)
        world.engine.published.clear()
        publish, published = world.engine.publish, list[str]()

        def taken(version: str, slot_file: Path, *, insist: bool = False) -> None:
            published.append(version)
            if len(published) > times:
                publish(version, slot_file, insist=insist)

        monkeypatch.setattr(world.engine, "publish", taken)
        asyncio.run(asked(service))
    assert len(published) == times + 1


def test_the_wait_for_a_version_is_a_part_of_what_a_request_took_and_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residency, "PATIENCE_SECONDS", 60.0)
    world = World(tmp_path)
    world.deploy(1, champion=world.adapter("a"))
    with running(world) as service:
        eventually(lambda: service.health.ready)
        world.engine.published.clear()
        publish, tries, most = world.engine.publish, list[str](), [10**6]

        def full(version: str, slot_file: Path, *, insist: bool = False) -> None:
            tries.append(version)
            if len(tries) < most[0]:
                raise NoFreeSlotError("all are held")
            publish(version, slot_file, insist=insist)

        async def served() -> None:
            request = asyncio.create_task(asked(service, x_request_timeout="30"))
            [load] = service.answers._residency._loading.values()
            while not load.waiting:
                await asyncio.sleep(0)
            most[0] = len(tries) + 6
            await request

        monkeypatch.setattr(world.engine, "publish", full)
        with pytest.raises(ApiError, match="still being loaded"):
            asyncio.run(asyncio.wait_for(asked(service, x_request_timeout="0.2"), 20))
        asyncio.run(served())
        [logged] = eventually(lambda: world.read(INFERENCES))
        assert logged.total_seconds > 4 * residency.LOOK_SECONDS
