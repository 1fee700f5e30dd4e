"""A row's logits are the same bits in whichever slot its adapter lies, and whatever lies beside it."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.tiny_engine import BASE, GRAPH, TinyServing, write_random_adapter

from pawl_inference.engine.graph import ServingGraph, Step
from pawl_inference.engine.kv_cache import KvCache
from pawl_inference.engine.settings import CPU, MAX_BATCH_LIMIT
from pawl_inference.engine.slots import SlotPool
from pawl_shared.models.graph_spec import GraphSpec
from pawl_shared.models.tensor_file import Tensors
from pawl_validator import onnx_export
from pawl_validator.onnx_parity import check_parity

SLOTS, PAST, THREADS = 7, 12, 2
MIXED: list[int | None] = [0, 1, 2, 3, 4, 5, 6, None, 3, 3, None, 6, 0, 5, 3, 1]


def adapter(spec: GraphSpec, random: np.random.Generator) -> Tensors:
    arrays: Tensors = {}
    for site in spec.sites:
        arrays[site.a] = random.normal(0, 0.2, (site.blocks * spec.rank, site.inputs)).astype(np.float32)
        arrays[site.b] = random.normal(0, 0.2, (spec.b_rows(site), sum(site.outputs))).astype(np.float32)
    return arrays


class Rows:
    """Sixteen rows with tokens and a past of their own, to be run in any company."""

    def __init__(self, folder: Path) -> None:
        self._graph = ServingGraph(folder, THREADS, 0, CPU)
        spec, random = self._graph.spec, np.random.default_rng(0)
        self._pool, self._cache = SlotPool(spec, GRAPH, SLOTS), KvCache(spec, MAX_BATCH_LIMIT, 128)
        for slot in range(SLOTS):
            self._pool._fill(slot, adapter(spec, random))
        self._past = [random.normal(0, 1, buffer.shape) for buffer in self._cache.buffers]

    def logits(self, row: int, used: list[int | None]) -> NDArray[np.float32]:
        """Of len(used) rows from `row` on."""
        for buffer, content in zip(self._cache.buffers, self._past, strict=True):
            buffer[:] = content
        held = [slot for slot in used if slot is not None] or [0]
        step = Step(self._graph, self._cache, self._pool, row, len(used), (min(held), max(held)))
        ids = np.arange(100 + row, 100 + row + len(used))[:, None]
        return step.run(ids, [PAST] * len(used), used).copy()

    def differing(self, used: list[int | None]) -> set[int]:
        """Rows of a batch that are not what they are alone."""
        together = self.logits(0, used)
        return {row for row, slot in enumerate(used) if not np.array_equal(together[row], self.logits(row, [slot])[0])}


@pytest.fixture(scope="session")
def masked(tiny: TinyServing, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as it was exported before graphs were grouped, and fp16 graphs still are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "_grouped", lambda precision, rank: False)
        folder = tmp_path_factory.mktemp("masked") / "graph"
        assert not onnx_export.export_base(tiny.hf_folder, folder, base=BASE).grouped
    return folder


def test_no_slot_is_summed_in_other_parts_than_another(masked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Rows(masked).differing(list(range(SLOTS)))
    monkeypatch.setattr("pawl_shared.models.slot_layout.stride", int.__mul__)  # right beside each other
    assert Rows(masked).differing(list(range(SLOTS))) == {2, 5}  # these reach over the end of a part


@pytest.mark.parametrize("count", range(2, MAX_BATCH_LIMIT + 1))
def test_a_row_of_any_group_is_what_it_is_alone(tiny: TinyServing, count: int) -> None:
    rows = Rows(tiny.graph_folder)
    assert not rows.differing(MIXED[:count])
    assert not rows.differing([3] * count)
    assert not rows.differing([*[None] * (count - 1), 6])


def test_a_graph_of_an_earlier_version_is_served_as_before(tiny: TinyServing, masked: Path, tmp_path: Path) -> None:
    spec = GraphSpec.model_validate_json((masked / "pawl.json").read_text())
    assert spec.format == "pawl.graph.v1"
    write_random_adapter(tmp_path / "adapter", spec, seed=5)
    onnx_export.pack_adapter(tmp_path / "adapter", masked, GRAPH, tmp_path / "slots")
    files = {"adapter_file": tmp_path / "adapter", "slot_file": tmp_path / "slots"}
    parity = check_parity(tiny.hf_folder, masked, ["Why is the sky blue?"], graph=GRAPH, **files)
    assert parity.kl < 0.01
