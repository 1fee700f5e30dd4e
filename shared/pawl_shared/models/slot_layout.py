"""How adapters lie in memory for a serving graph, and which inputs tell it who runs on which of them (ADR 24)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pawl_shared.models.graph_spec import GraphSpec, Site
from pawl_shared.models.tensor_file import Tensors

# ONNX Runtime's matrix product (MLAS) sums this many rows at a time, then adds up the sums.
_SUMMED_AT_ONCE = 128


def stride(blocks: int, rank: int) -> int:
    """Rows from one slot to the next of a masked graph, so that each is summed alike wherever it lies among others.

    A slot of 48 rows (three fused layers at rank 16) in the third place would reach over row 128, and be summed in two
    parts: one unit in the last place, which flips the rounding of int8 activations, and now and then a token.
    """
    rows = blocks * rank
    if rows > _SUMMED_AT_ONCE:
        return -(-rows // _SUMMED_AT_ONCE) * _SUMMED_AT_ONCE
    return 1 << (rows - 1).bit_length()


def slot_shapes(spec: GraphSpec) -> dict[str, tuple[int, ...]]:
    """Shape of what one slot holds, by graph input."""
    shapes: dict[str, tuple[int, ...]] = {}
    for site in spec.sites:
        if spec.grouped:
            shapes[site.a] = (site.blocks, site.inputs, spec.rank)
            shapes[site.b] = (len(site.units), site.width, spec.rank)
        else:
            rows = stride(site.blocks, spec.rank)
            shapes[site.a], shapes[site.b] = (rows, site.inputs), (rows, sum(site.outputs))
    return shapes


def bound_shape(spec: GraphSpec, shape: tuple[int, ...], slots: int) -> list[int]:
    """Shape of the graph input for that many slots, one after the other in memory."""
    return [slots, *shape] if spec.grouped else [slots * shape[0], *shape[1:]]


def arrange(spec: GraphSpec, arrays: Tensors) -> dict[str, NDArray[Any]]:
    """The arrays of a slot file in the shapes of `slot_shapes`."""
    place = _grouped_site if spec.grouped else _masked_site
    return {name: array for site in spec.sites for name, array in place(spec, site, arrays).items()}


def choice(spec: GraphSpec, slots: Sequence[int | None], span: tuple[int, int], length: int) -> dict[str, NDArray[Any]]:
    """Graph inputs that put each row of `length` tokens on its slot (None: the base), for slots first..last."""
    return (_groups if spec.grouped else _masks)(spec, slots, span, length)


def _grouped_site(spec: GraphSpec, site: Site, arrays: Tensors) -> dict[str, NDArray[Any]]:
    """A as [blocks, inputs, rank] and B as [units, width, rank]: read from the first to the last byte."""
    a = arrays[site.a].reshape(site.blocks, spec.rank, site.inputs).swapaxes(1, 2)
    b = arrays[site.b].T.reshape(len(site.units), site.width, spec.rank)
    return {site.a: a.astype(spec.element, copy=False), site.b: b.astype(spec.element, copy=False)}


def _masked_site(spec: GraphSpec, site: Site, arrays: Tensors) -> dict[str, NDArray[Any]]:
    gap = stride(site.blocks, spec.rank) - site.blocks * spec.rank
    return {name: np.pad(arrays[name].astype(spec.element), ((0, gap), (0, 0))) for name in (site.a, site.b)}


def _groups(
    spec: GraphSpec, slots: Sequence[int | None], span: tuple[int, int], length: int
) -> dict[str, NDArray[Any]]:
    count = span[1] - span[0] + 1
    members: list[list[int]] = [[] for _ in range(count)]
    for row, slot in enumerate(slots):
        if slot is not None:
            members[slot - span[0]] += range(row * length, (row + 1) * length)
    size = max(1, *map(len, members))
    grouped = np.zeros((count, 1, size), np.int64)
    pick = np.zeros((len(slots) * length, count, size), spec.element)
    for place, tokens in enumerate(members):
        grouped[place, 0, : len(tokens)] = tokens
        pick[tokens, place, np.arange(len(tokens))] = 1
    return {"grouped": grouped, "pick": pick.reshape(len(pick), -1)}


def _masks(spec: GraphSpec, slots: Sequence[int | None], span: tuple[int, int], length: int) -> dict[str, NDArray[Any]]:
    masks = {}
    for blocks in spec.block_counts:
        width, apart = blocks * spec.rank, stride(blocks, spec.rank)
        mask = np.zeros(((span[1] - span[0] + 1) * apart, len(slots) * length), spec.element)
        for row, slot in enumerate(slots):
            if slot is not None:
                start = (slot - span[0]) * apart
                mask[start : start + width, row * length : (row + 1) * length] = 1
        masks[f"mask_{blocks}"] = mask
    return masks
