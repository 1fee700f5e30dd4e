"""The default base model from its name to its answers. The resolved model and its graph are kept under .cache/."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.answers import GREEDY, answer, one_by_one, request, together
from support.heap import glibc, in_use
from support.tiny_engine import BASE, GRAPH, write_random_adapter

from pawl_inference.engine.graph import ServingGraph, Step, new_logits
from pawl_inference.engine.kv_cache import KvCache
from pawl_inference.engine.onnx_engine import OnnxEngine
from pawl_inference.engine.port import Sampling
from pawl_inference.engine.settings import EngineSettings
from pawl_inference.engine.slots import SlotPool
from pawl_shared.models import base_models
from pawl_shared.models.graph_spec import read_spec
from pawl_validator.onnx_export import export_base, pack_adapter
from pawl_validator.onnx_parity import check_parity

pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.anyio]

CACHE = Path(__file__).parents[3] / ".cache" / "smollm2"
PROMPTS = ["Why is the sky blue?", "Give me a tip to cook rice.", "What is the capital of France?"]


@pytest.fixture(scope="module")
def hf_folder() -> Path:
    return base_models.resolve(base_models.DEFAULT_BASE, CACHE / "bases").folder


@pytest.fixture(scope="module")
def graph_folder(hf_folder: Path) -> Path:
    if not (CACHE / "graph").is_dir():
        export_base(hf_folder, CACHE / "graph", base=BASE)
    return CACHE / "graph"


@pytest.fixture(scope="module")
def adapter(graph_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Version, trained file and slot file of a random adapter."""
    folder = tmp_path_factory.mktemp("adapter")
    version = write_random_adapter(folder / "adapter", read_spec(graph_folder), seed=1, size=0.05)
    pack_adapter(folder / "adapter", graph_folder, GRAPH, folder / "slots")
    return version, folder / "adapter", folder / "slots"


@pytest.fixture(scope="module")
def engine(graph_folder: Path, adapter: tuple[str, Path, Path]) -> Iterator[OnnxEngine]:
    engine = OnnxEngine(graph_folder, GRAPH, EngineSettings(max_batch=16, prefix_cache_bytes=0))
    engine.publish(adapter[0], adapter[2])
    yield engine
    engine.close()


async def test_the_base_answers_sensibly_and_the_adapter_differently(
    engine: OnnxEngine, adapter: tuple[str, Path, Path]
) -> None:
    assert "light" in (await answer(engine, request(engine, BASE, PROMPTS[0]))).text
    base, adapted = await one_by_one(engine, [request(engine, version, PROMPTS[1]) for version in (BASE, adapter[0])])
    assert adapted.text != base.text


async def test_rows_of_a_mixed_batch_equal_each_row_alone(engine: OnnxEngine, adapter: tuple[str, Path, Path]) -> None:
    requests = [
        request(engine, version, prompt, sampling, max_tokens=12 + 2 * index)
        for index, prompt in enumerate(PROMPTS)
        for version in (BASE, adapter[0])
        for sampling in (GREEDY, *(Sampling(temperature=0.8, top_p=0.9, seed=seed) for seed in (5, 6)))
    ]
    assert len(requests) > 16  # the last ones join midway
    assert await together(engine, requests) == await one_by_one(engine, requests)


def test_int8_stays_within_the_parity_gate(
    hf_folder: Path, graph_folder: Path, adapter: tuple[str, Path, Path]
) -> None:
    text = (Path(__file__).parents[3] / "LICENSE").read_text(encoding="utf-8")
    prompts = [text[start : start + 900] for start in range(0, 2700, 900)]
    parity = check_parity(hf_folder, graph_folder, prompts, adapter_file=adapter[1], slot_file=adapter[2], graph=GRAPH)
    assert parity.positions > 400
    assert parity.kl < 0.02
    assert parity.top1 > 0.93


@glibc
def test_nothing_is_kept_of_a_shape_when_its_step_is_dropped(graph_folder: Path) -> None:
    graph = ServingGraph(graph_folder, 1, 0)
    cache, slots, logits = KvCache(graph.spec, 1, 64), SlotPool(graph.spec, GRAPH, 1), new_logits(graph.spec, 1)

    def run(length: int) -> None:
        Step(graph, cache, slots, 0, 1, (0, 0), logits).run(np.ones((1, length), np.int64), [0], [None])

    for length in (1, 64):
        run(length)
    before = in_use()
    for length in range(2, 22):
        run(length)
    assert in_use() - before < 20 * 5_000  # 25 kB each with ONNX Runtime's memory patterns
