"""A row's logits are the same bits in whichever slot its adapter lies, and whatever lies beside it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from support.tiny_engine import GRAPH, TinyServing

from pawl_inference.engine.graph import ServingGraph, Step
from pawl_inference.engine.kv_cache import KvCache
from pawl_inference.engine.settings import CPU
from pawl_inference.engine.slots import SlotPool

SLOTS, PAST = 7, [40, 41, 100, 30, 77, 12, 9]


def differing(tiny: TinyServing) -> set[int]:
    """Slots whose row in a batch over all slots is not what it is alone."""
    graph = ServingGraph(tiny.graph_folder, 1, 0, CPU)
    pool, cache = SlotPool(graph.spec, GRAPH, SLOTS), KvCache(graph.spec, SLOTS, 128)
    random = np.random.default_rng(0)
    for slot in range(SLOTS):
        widths = {name: width for s in graph.spec.sites for name, width in ((s.a, s.inputs), (s.b, sum(s.outputs)))}
        rows = {name: s.blocks * graph.spec.rank for s in graph.spec.sites for name in (s.a, s.b)}
        pool._fill(slot, {n: random.normal(0, 0.2, (rows[n], w)).astype(np.float32) for n, w in widths.items()})
    past = [random.normal(0, 1, buffer.shape) for buffer in cache.buffers]

    def logits(row: int, used: list[int | None]) -> NDArray[np.float32]:
        for buffer, content in zip(cache.buffers, past, strict=True):
            buffer[:] = content
        first, last = min(slot or 0 for slot in used), max(slot or 0 for slot in used)
        step = Step(graph, cache, pool, row, len(used), 1, (first, last))
        ids = np.arange(100 + row, 100 + row + len(used))[:, None]
        return step.run(ids, PAST[row : row + len(used)], used).copy()

    together = logits(0, list(range(SLOTS)))
    return {slot for slot in range(SLOTS) if not np.array_equal(together[slot], logits(slot, [slot])[0])}


def test_no_slot_is_summed_in_other_parts_than_another(tiny: TinyServing, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not differing(tiny)
    for module in ("slots", "graph"):  # right beside each other, two of them reach over the end of a part
        monkeypatch.setattr(f"pawl_inference.engine.{module}.stride", int.__mul__)
    assert differing(tiny) == {2, 5}
