"""What lies in a slot, and who runs on it, worked out by hand for both kinds of graphs."""

import numpy as np
import pytest
from numpy.typing import NDArray
from support.tiny_engine import BASE, random_tensors, toy_spec

from pawl_shared.models import lora_format, slot_format, slot_layout
from pawl_shared.models.graph_spec import GraphSpec, Site
from pawl_shared.models.tensor_file import Tensors

MASKED = toy_spec()
GROUPED = toy_spec().model_copy(update={"format": "pawl.graph.v2", "gain": 8.0})
ROWS: list[int | None] = [2, None, 1, 2, 2, None]
SPAN, LENGTH = (1, 3), 2


def computed(spec: GraphSpec, site: Site, held: list[Tensors], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The adapter's part of a site's outputs, as the nodes of the graph compute it."""
    arranged = [slot_layout.arrange(spec, arrays) for arrays in held]
    a, b = (
        np.concatenate([one[name][None] for one in arranged]).reshape(
            slot_layout.bound_shape(spec, slot_layout.slot_shapes(spec)[name], len(held))
        )
        for name in (site.a, site.b)
    )
    chosen = slot_layout.choice(spec, ROWS, SPAN, LENGTH)
    if not spec.grouped:
        return ((0.5 * a @ x.T) * chosen[f"mask_{site.blocks}"]).T @ b
    h = 0.5 * x[chosen["grouped"]] @ a
    d = 0.5 * h[:, list(site.units)] @ b.swapaxes(-1, -2)
    return 0.5 * chosen["pick"] @ d.transpose(0, 2, 1, 3).reshape(-1, sum(site.outputs))


@pytest.mark.parametrize("spec", [MASKED, GROUPED])
def test_each_row_gets_its_own_adapter_and_the_base_none(spec: GraphSpec) -> None:
    adapters = [adapter_of(seed) for seed in range(SPAN[1] - SPAN[0] + 1)]
    held = [slot_format.pack(adapter, spec) for adapter in adapters]
    x = np.random.default_rng(0).normal(size=(len(ROWS) * LENGTH, 6)).astype(np.float32)
    for site in spec.sites:
        found = computed(spec, site, held, x)
        for row, slot in enumerate(ROWS):
            tokens = slice(row * LENGTH, (row + 1) * LENGTH)
            expected = np.zeros((LENGTH, sum(site.outputs)))
            if slot is not None:
                adapter = adapters[slot - SPAN[0]]
                pairs = [pair for module in site.modules if (pair := adapter.pair(module))]
                expected = np.concatenate([adapter.scale * x[tokens] @ a.T @ b.T for a, b in pairs], axis=1)
            np.testing.assert_allclose(found[tokens], expected, rtol=1e-4, atol=1e-5)


def adapter_of(seed: int) -> lora_format.TrainedAdapter:
    return lora_format.TrainedAdapter(BASE, 3, 32.0, False, "test", random_tensors(MASKED, seed, rank=3))


def test_a_batch_on_the_base_alone_computes_one_row_of_an_adapter() -> None:
    chosen = slot_layout.choice(GROUPED, [None] * 8, (0, 0), 1)
    assert chosen["grouped"].shape == (1, 1, 1)
    assert not chosen["pick"].any()


def test_a_slot_reaches_over_no_end_of_a_part_that_is_summed() -> None:
    for blocks in (1, 2, 3):
        for rank in (1, 4, 16, 32, 64, 128):
            rows, apart = blocks * rank, slot_layout.stride(blocks, rank)
            assert apart >= rows
            assert apart % 128 == 0 or 128 % apart == 0
