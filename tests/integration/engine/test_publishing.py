"""Adapters come and go while answers are being written."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.answers import answer, request
from support.tiny_engine import BASE, GRAPH, TinyServing

from pawl_inference.engine.onnx_engine import OnnxEngine
from pawl_inference.engine.port import NoFreeSlotError, UnknownVersionError
from pawl_inference.engine.settings import EngineSettings
from pawl_shared.models import slot_format
from pawl_shared.models.graph_spec import read_spec
from pawl_shared.models.tensor_file import AdapterInvalidError, Fault

pytestmark = pytest.mark.anyio


@pytest.fixture
def engine(tiny: TinyServing) -> Iterator[OnnxEngine]:
    engine = OnnxEngine(tiny.graph_folder, GRAPH, EngineSettings(slots=2, prefix_cache_bytes=0))
    yield engine
    engine.close()


async def test_swaps_do_not_change_requests_in_flight(engine: OnnxEngine, tiny: TinyServing) -> None:
    first, second, third = tiny.versions
    engine.publish(first, tiny.slot_files[first])
    wanted = request(engine, first, "Why is the sky blue?", max_tokens=400)
    alone = await answer(engine, wanted)
    running = asyncio.create_task(answer(engine, wanted))
    await asyncio.sleep(0)
    engine.retire(first)  # its slot drains; every further version has to share the other slot
    with pytest.raises(UnknownVersionError):
        engine.submit(wanted)
    swaps = 0
    while not running.done() or swaps < 4:
        version = (second, third)[swaps % 2]
        await asyncio.to_thread(engine.publish, version, tiny.slot_files[version])
        assert version in engine.versions()
        await answer(engine, request(engine, version, "Hi", max_tokens=3))
        engine.retire(version)
        swaps += 1
    assert await running == alone


async def test_a_slot_is_reused_only_when_nobody_holds_it(engine: OnnxEngine, tiny: TinyServing) -> None:
    first, second, third = tiny.versions
    for version in (first, second):
        engine.publish(version, tiny.slot_files[version])
    handle = engine.submit(request(engine, first, "Hi", max_tokens=10_000))
    other = engine.submit(request(engine, second, "Hi", max_tokens=10_000))
    engine.retire(first)
    with pytest.raises(NoFreeSlotError, match="PAWL_ENGINE_SLOTS"):
        engine.publish(third, tiny.slot_files[third])
    for each in (handle, other):
        each.cancel()
        async for _ in each:
            pass
    while engine.stats().slots_used > 1:
        await asyncio.sleep(0.01)
    engine.publish(third, tiny.slot_files[third])
    assert engine.versions() == {BASE, second, third}
    engine.publish(first, tiny.slot_files[first])
    assert engine.versions() == {BASE, third, first}  # `second` was asked for the longest ago


async def test_publishing_again_changes_nothing(engine: OnnxEngine, tiny: TinyServing) -> None:
    version = tiny.versions[0]
    for _ in range(3):
        engine.publish(version, tiny.slot_files[version])
    assert engine.stats().slots_used == 1


def damaged(folder: Path, tiny: TinyServing, fault: Fault) -> Path:
    """The first version's slot file with one thing wrong."""
    version = tiny.versions[0]
    spec = read_spec(tiny.graph_folder)
    arrays = slot_format.read_slots(tiny.slot_files[version], spec, graph=GRAPH, adapter=version).arrays
    marks = {"adapter": version, "base": BASE, "graph": GRAPH}
    name = spec.sites[0].a
    path = folder / "bad.slots"
    if fault is Fault.UNREADABLE:
        shutil.copyfile(tiny.slot_files[version], path)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
        return path
    if fault is Fault.NOT_FINITE:
        arrays[name] = np.full_like(arrays[name], np.nan)
    elif fault is Fault.SHAPE:
        arrays[name] = arrays[name][:-1]
    elif fault is Fault.UNKNOWN_TENSOR:
        arrays["surprise"] = np.zeros(1, np.float32)
    else:
        marks[{Fault.WRONG_BASE: "base", Fault.WRONG_GRAPH: "graph", Fault.WRONG_VERSION: "adapter"}[fault]] = "0" * 64
    slot_format.write_slots(path, arrays, rank=spec.rank, **marks)
    return path


@pytest.mark.parametrize(
    "fault",
    [
        Fault.UNREADABLE,
        Fault.NOT_FINITE,
        Fault.SHAPE,
        Fault.UNKNOWN_TENSOR,
        Fault.WRONG_BASE,
        Fault.WRONG_GRAPH,
        Fault.WRONG_VERSION,
    ],
)
async def test_a_bad_file_is_refused_with_its_fault_and_serving_goes_on(
    engine: OnnxEngine, tiny: TinyServing, tmp_path: Path, fault: Fault
) -> None:
    good, bad = tiny.versions[1], tiny.versions[0]
    engine.publish(good, tiny.slot_files[good])
    wanted = request(engine, good, "Hi", max_tokens=60)
    alone = await answer(engine, wanted)
    running = asyncio.create_task(answer(engine, wanted))
    await asyncio.sleep(0)
    with pytest.raises(AdapterInvalidError) as caught:
        engine.publish(bad, damaged(tmp_path, tiny, fault))
    assert caught.value.fault is fault
    assert await running == alone
    assert engine.versions() == {BASE, good}
    assert engine.stats().slots_used == 1
