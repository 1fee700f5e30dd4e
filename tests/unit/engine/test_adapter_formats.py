"""Adapter files: what is written is read back, and each bad file is refused with its fault."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from support.tiny_engine import BASE, GRAPH, random_tensors, toy_spec, write_tensors

from pawl_shared.models import lora_format, slot_format, tensor_file
from pawl_shared.models.tensor_file import AdapterInvalidError, Fault

SPEC = toy_spec()
Tensors = dict[str, NDArray[np.float32]]
Q = "base_model.model.model.q"


def refused(path: Path, base: str | None = BASE) -> Fault:
    with pytest.raises(AdapterInvalidError) as caught:
        slot_format.pack(lora_format.read_adapter(path, base), SPEC)
    return caught.value.fault


def write_raw(path: Path, tensors: Tensors, **metadata: str) -> Path:
    """A file as a careless tool would write it: unchecked."""
    known = {"format": "pawl.lora.v1", "base": BASE, "rank": "4", "alpha": "8", "rslora": "false", "run": "r"}
    save_file(tensors, path, metadata=known | metadata)
    return path


def test_a_trained_adapter_comes_back_as_written(tmp_path: Path) -> None:
    tensors = random_tensors(SPEC, seed=1, rank=4)
    version = write_tensors(tmp_path / "a", tensors, rank=4)
    adapter = lora_format.read_adapter(tmp_path / "a", BASE)
    assert version == tensor_file.file_digest(tmp_path / "a")
    assert (adapter.rank, adapter.scale, adapter.run) == (4, 8.0, "test")
    assert adapter.modules() == ["model.k", "model.o", "model.q"]
    assert all((adapter.tensors[name] == tensors[name]).all() for name in tensors)
    assert load_file(tmp_path / "a").keys() == tensors.keys()  # any safetensors reader can open it


def test_the_same_adapter_gives_the_same_version(tmp_path: Path) -> None:
    tensors = random_tensors(SPEC, seed=1, rank=4)
    shuffled = dict(reversed(tensors.items()))
    assert write_tensors(tmp_path / "a", tensors, rank=4) == write_tensors(tmp_path / "b", shuffled, rank=4)


@pytest.mark.parametrize("rank", [1, 3, 4])
def test_packing_keeps_the_product(tmp_path: Path, rank: int) -> None:
    write_tensors(tmp_path / "a", random_tensors(SPEC, seed=2, rank=rank), rank=rank)
    adapter = lora_format.read_adapter(tmp_path / "a")
    arrays = slot_format.pack(adapter, SPEC)
    x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    for site in SPEC.sites:
        found = (x @ (0.5 * arrays[site.a]).T) @ arrays[site.b]
        parts = [adapter.pair(module) for module in site.modules]
        expected = np.concatenate([adapter.scale * x @ a.T @ b.T for a, b in parts if a is not None], axis=1)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_rank_stabilised_scale() -> None:
    adapter = lora_format.TrainedAdapter(BASE, 16, 32.0, True, "r", {})
    assert adapter.scale == 8.0


def drop(tensors: Tensors) -> None:
    del tensors[f"{Q}.lora_B.weight"]


def poison(tensors: Tensors) -> None:
    tensors[f"{Q}.lora_A.weight"][0, 0] = np.nan


def explode(tensors: Tensors) -> None:
    tensors[f"{Q}.lora_A.weight"][0, 0] = 1e30


def widen(tensors: Tensors) -> None:
    tensors[f"{Q}.lora_A.weight"] = np.zeros((4, 7), np.float32)


def raise_rank(tensors: Tensors) -> None:
    tensors[f"{Q}.lora_A.weight"] = np.zeros((5, 6), np.float32)


def add(name: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name] = np.zeros(3, np.float32)

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (drop, Fault.SHAPE),
        (poison, Fault.NOT_FINITE),
        (explode, Fault.NOT_FINITE),
        (widen, Fault.SHAPE),
        (raise_rank, Fault.RANK),
        (dict.clear, Fault.EMPTY),
        (add(f"{Q}.lora_magnitude_vector"), Fault.UNSUPPORTED),
        (add("base_model.model.lm_head.modules_to_save.weight"), Fault.UNSUPPORTED),
        (add(f"{Q}.bias"), Fault.UNSUPPORTED),
        (add("surprise"), Fault.UNKNOWN_TENSOR),
    ],
)
def test_bad_tensors_are_refused(tmp_path: Path, change: Callable[[Tensors], None], fault: Fault) -> None:
    tensors = random_tensors(SPEC, seed=3, rank=4)
    change(tensors)
    assert refused(write_raw(tmp_path / "bad", tensors)) is fault


def test_a_module_that_the_graph_does_not_have(tmp_path: Path) -> None:
    tensors = random_tensors(SPEC, seed=3, rank=4)
    for part in "AB":
        tensors[f"base_model.model.model.z.lora_{part}.weight"] = tensors[f"{Q}.lora_{part}.weight"].copy()
    assert refused(write_raw(tmp_path / "bad", tensors)) is Fault.UNKNOWN_TENSOR


def test_a_rank_above_the_graph(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", random_tensors(SPEC, seed=3, rank=8), rank=8)
    assert refused(tmp_path / "a") is Fault.RANK


def test_wrong_metadata(tmp_path: Path) -> None:
    tensors = random_tensors(SPEC, seed=3, rank=4)
    assert refused(write_raw(tmp_path / "base", tensors, base="c" * 64)) is Fault.WRONG_BASE
    assert refused(write_raw(tmp_path / "form", tensors, format="other")) is Fault.WRONG_FORMAT
    assert refused(write_raw(tmp_path / "rank", tensors, rank="many")) is Fault.WRONG_FORMAT
    assert refused(write_raw(tmp_path / "size", tensors, alpha="inf")) is Fault.NOT_FINITE


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_a_truncated_file(tmp_path: Path, kept: int) -> None:
    write_tensors(tmp_path / "a", random_tensors(SPEC, seed=3, rank=4), rank=4)
    (tmp_path / "cut").write_bytes((tmp_path / "a").read_bytes()[:kept])
    assert refused(tmp_path / "cut") is Fault.UNREADABLE


def test_no_file_at_all(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not safetensors, but long enough to have a header length")
    assert refused(tmp_path / "text") is Fault.UNREADABLE
    assert refused(tmp_path / "missing") is Fault.UNREADABLE


def test_the_writer_refuses_what_a_reader_would(tmp_path: Path) -> None:
    tensors = random_tensors(SPEC, seed=3, rank=4)
    poison(tensors)
    with pytest.raises(AdapterInvalidError):
        write_tensors(tmp_path / "a", tensors, rank=4)
    assert not list(tmp_path.iterdir())


def test_a_slot_file_serves_one_version_of_one_graph(tmp_path: Path) -> None:
    version = write_tensors(tmp_path / "a", random_tensors(SPEC, seed=4, rank=4), rank=4)
    arrays = slot_format.pack(lora_format.read_adapter(tmp_path / "a"), SPEC)
    path = tmp_path / "slots"
    slot_format.write_slots(path, arrays, adapter=version, base=BASE, graph=GRAPH, rank=SPEC.rank)
    read = slot_format.read_slots(path, SPEC, graph=GRAPH, adapter=version)
    assert all((read.arrays[name] == arrays[name]).all() for name in arrays)

    def fault(spec_rank: int = 4, graph: str = GRAPH, adapter: str = version) -> Fault:
        with pytest.raises(AdapterInvalidError) as caught:
            slot_format.read_slots(path, toy_spec(spec_rank), graph=graph, adapter=adapter)
        return caught.value.fault

    assert fault(graph="8" * 64) is Fault.WRONG_GRAPH
    assert fault(adapter="a" * 64) is Fault.WRONG_VERSION
    assert fault(spec_rank=8) is Fault.RANK
