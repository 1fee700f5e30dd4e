"""What CUDA would be given works as what the CPU is given: the same memory by OrtValues, and graphs in fp16."""

from pathlib import Path

import pytest
from support.answers import GREEDY, one_by_one, request, together
from support.tiny_engine import BASE, GRAPH, TinyServing, write_random_adapter

from pawl_inference.engine.onnx_engine import OnnxEngine
from pawl_inference.engine.settings import EngineSettings, Provider
from pawl_validator.onnx_export import export_base, pack_adapter
from pawl_validator.onnx_parity import check_parity

pytestmark = pytest.mark.anyio
PROMPTS = ["Hi", "Why is the sky blue?", "Tell me about dogs, cats, birds and fish. " * 4, "Ein Tee für zwei"]
ON_DEVICE = Provider("cpu", on_device=True)


async def test_device_memory_gives_the_same_tokens(tiny: TinyServing) -> None:
    found = []
    for provider in (Provider(), ON_DEVICE):
        engine = OnnxEngine(tiny.graph_folder, GRAPH, EngineSettings(max_batch=4, prefill_chunk=16, provider=provider))
        for version, path in tiny.slot_files.items():
            engine.publish(version, path)
        lengths = iter(range(5, 60))  # all different, so that rows leave at different steps and others move
        versions = [BASE, *tiny.versions]
        asked = [request(engine, v, p, GREEDY, max_tokens=next(lengths)) for p in PROMPTS for v in versions]
        found.append(await together(engine, asked))
        if provider is ON_DEVICE:
            found.append(await one_by_one(engine, asked))
        engine.close()
    assert found[0] == found[1] == found[2]


async def test_fp16_says_what_torch_says_and_is_served(tiny: TinyServing, tmp_path: Path) -> None:
    spec = export_base(tiny.hf_folder, tmp_path / "graph", base=BASE, precision="fp16")
    version = write_random_adapter(tmp_path / "adapter", spec, seed=5, rank=8)
    pack_adapter(tmp_path / "adapter", tmp_path / "graph", GRAPH, tmp_path / "slots")
    files = {"adapter_file": tmp_path / "adapter", "slot_file": tmp_path / "slots"}
    parity = check_parity(tiny.hf_folder, tmp_path / "graph", PROMPTS, graph=GRAPH, **files)
    assert parity.kl < 1e-4
    found = []
    for provider in (Provider(), ON_DEVICE):
        engine = OnnxEngine(tmp_path / "graph", GRAPH, EngineSettings(provider=provider))
        engine.publish(version, tmp_path / "slots")
        asked = [request(engine, v, p, GREEDY, max_tokens=8) for p in PROMPTS for v in (BASE, version)]
        found.append(await one_by_one(engine, asked))
        engine.close()
    assert found[0] == found[1]
