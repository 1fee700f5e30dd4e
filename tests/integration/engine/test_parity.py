"""The serving graph says what torch says, with and without an adapter, in more than one architecture."""

from pathlib import Path

import pytest
from benchmarks.support.tiny_model import write_random_tiny
from support.tiny_engine import BASE, GRAPH, TinyServing, write_random_adapter

from pawl_shared.models.graph_spec import read_spec
from pawl_shared.models.tensor_file import AdapterInvalidError, Fault
from pawl_validator.onnx_export import export_base, pack_adapter
from pawl_validator.onnx_parity import Parity, check_parity

PROMPTS = [
    "What is a good way to learn to cook? Start with a simple soup, then try bread.",
    "The quick brown fox jumps over the lazy dog; the answer is 42, isn't it?",
]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_fp32_equals_torch(tmp_path: Path, architecture: str) -> None:
    hf_folder = write_random_tiny(tmp_path / "hf", architecture=architecture)
    spec = export_base(hf_folder, tmp_path / "graph", base=BASE, precision="fp32")
    write_random_adapter(tmp_path / "adapter", spec, seed=5, rank=8)
    pack_adapter(tmp_path / "adapter", tmp_path / "graph", GRAPH, tmp_path / "slots")
    plain = check_parity(hf_folder, tmp_path / "graph", PROMPTS)
    adapted = check_parity(
        hf_folder,
        tmp_path / "graph",
        PROMPTS,
        adapter_file=tmp_path / "adapter",
        slot_file=tmp_path / "slots",
        graph=GRAPH,
    )
    for parity in (plain, adapted):
        assert parity.max_difference < 1e-3
        assert parity.top1 == 1


def test_int8_is_close_to_torch_and_an_adapter_that_is_missing_is_seen(tiny: TinyServing) -> None:
    version = tiny.versions[0]

    def parity(slot_file: Path | None) -> Parity:
        adapter_file = tiny.adapter_files[version]
        return check_parity(
            tiny.hf_folder, tiny.graph_folder, PROMPTS, adapter_file=adapter_file, slot_file=slot_file, graph=GRAPH
        )

    served = parity(tiny.slot_files[version])
    assert served.kl < 0.02
    assert served.top1 > 0.85  # near-ties of a random model flip; a real one agrees in 93 % and more
    assert parity(None).kl > 20 * served.kl


def test_the_slot_file_of_another_adapter_is_refused(tiny: TinyServing) -> None:
    first, second = tiny.versions[:2]
    with pytest.raises(AdapterInvalidError) as caught:
        check_parity(
            tiny.hf_folder,
            tiny.graph_folder,
            PROMPTS,
            adapter_file=tiny.adapter_files[first],
            slot_file=tiny.slot_files[second],
            graph=GRAPH,
        )
    assert caught.value.fault is Fault.WRONG_VERSION


def test_the_same_base_gives_the_same_graph(tiny: TinyServing, tmp_path: Path) -> None:
    export_base(tiny.hf_folder, tmp_path / "again", base=BASE, precision="int8")
    assert b"+" not in (tmp_path / "again" / "model.onnx").read_bytes()[:48]  # no commit of the caller's repository
    names = {path.name for path in tiny.graph_folder.iterdir()}
    assert names == {"model.onnx", "model.onnx.data", "pawl.json", "tokenizer.json", "chat_template.jinja"}
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (tiny.graph_folder / name).read_bytes(), name
    assert read_spec(tmp_path / "again").context_length == 512
