"""The adapter as inference binds it (`pawl.slots.v1`): laid out for one graph.

Everything that is read is checked, and a file that cannot be served is refused with its fault and a sentence.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pawl_shared.models.graph_spec import GraphSpec, Site
from pawl_shared.models.lora_format import TrainedAdapter
from pawl_shared.models.tensor_file import AdapterInvalidError, Fault, Tensors, check_values, file_digest, load, save

SLOTS_FORMAT = "pawl.slots.v1"


@dataclass(frozen=True)
class SlotFile:
    """An adapter packed for one graph: arrays by graph input, ready to be copied into a slot."""

    adapter: str
    base: str
    graph: str
    rank: int
    arrays: Tensors


def pack(adapter: TrainedAdapter, spec: GraphSpec) -> Tensors:
    """Lay an adapter out for a graph: A [blocks*rank, inputs], B [b_rows, sum(outputs)], scale folded into B.

    Raises:
        AdapterInvalidError: its rank is above the graph's, or a tensor does not fit or belong to the graph.
    """
    if adapter.base != spec.base:
        raise AdapterInvalidError(
            Fault.WRONG_BASE,
            f"it was trained on base {adapter.base[:12] or 'unknown'}, the graph is of {spec.base[:12]}",
        )
    if adapter.rank > spec.rank:
        raise AdapterInvalidError(
            Fault.RANK, f"its rank is {adapter.rank} and the graph holds up to {spec.rank}; train with a lower rank"
        )
    unknown = set(adapter.modules()) - {module for site in spec.sites for module in site.modules}
    if unknown:
        raise AdapterInvalidError(Fault.UNKNOWN_TENSOR, f"the graph has no place for {sorted(unknown)[0]}")
    arrays: Tensors = {}
    for site in spec.sites:
        arrays[site.a], arrays[site.b] = _pack_site(adapter, site, spec)
    check_values(arrays)
    return arrays


def _pack_site(adapter: TrainedAdapter, site: Site, spec: GraphSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    a = np.zeros((site.blocks * spec.rank, site.inputs), np.float32)
    b = np.zeros((spec.b_rows(site), sum(site.outputs)), np.float32)
    column = 0
    for block, (module, outputs) in enumerate(zip(site.modules, site.outputs, strict=True)):
        pair = adapter.pair(module)
        if pair is not None:
            expected = ((adapter.rank, site.inputs), (outputs, adapter.rank))
            if (pair[0].shape, pair[1].shape) != expected:
                raise AdapterInvalidError(
                    Fault.SHAPE,
                    f"{module} has {pair[0].shape} and {pair[1].shape}, not {expected[0]} and {expected[1]}",
                )
            row = block * spec.rank
            a[row : row + adapter.rank] = pair[0]
            row = 0 if spec.grouped else row
            b[row : row + adapter.rank, column : column + outputs] = pair[1].T * np.float32(adapter.scale * spec.gain)
        column += outputs
    return a, b


def write_slots(path: Path, arrays: Tensors, *, adapter: str, base: str, graph: str, rank: int) -> str:
    """Write a slot file atomically and return its digest."""
    save(path, arrays, {"format": SLOTS_FORMAT, "adapter": adapter, "base": base, "graph": graph, "rank": str(rank)})
    return file_digest(path)


def file_shapes(spec: GraphSpec) -> dict[str, tuple[int, int]]:
    """What a slot file for a graph holds, by graph input."""
    shapes = {site.a: (site.blocks * spec.rank, site.inputs) for site in spec.sites}
    return shapes | {site.b: (spec.b_rows(site), sum(site.outputs)) for site in spec.sites}


def read_slots(path: Path, spec: GraphSpec, *, graph: str, adapter: str) -> SlotFile:
    """Read and check a slot file for a graph and the version that it should hold.

    Raises:
        AdapterInvalidError: damaged, made for another base, graph or version, or with arrays that do not fit.
    """
    metadata, arrays = load(path, SLOTS_FORMAT)
    for key, expected, fault in (
        ("base", spec.base, Fault.WRONG_BASE),
        ("graph", graph, Fault.WRONG_GRAPH),
        ("adapter", adapter, Fault.WRONG_VERSION),
        ("rank", str(spec.rank), Fault.RANK),
    ):
        found = metadata.get(key, "")
        if found != expected:
            raise AdapterInvalidError(fault, f"the file is for {key} {found[:12] or 'unknown'}, not {expected[:12]}")
    shapes = file_shapes(spec)
    if unknown := set(arrays) - set(shapes):
        raise AdapterInvalidError(Fault.UNKNOWN_TENSOR, f"the graph has no input {sorted(unknown)[0]}")
    for name, shape in shapes.items():
        if name not in arrays or arrays[name].shape != shape:
            found_shape = arrays[name].shape if name in arrays else "missing"
            raise AdapterInvalidError(Fault.SHAPE, f"{name} is {found_shape}, not {shape}")
    check_values(arrays)
    return SlotFile(adapter=adapter, base=spec.base, graph=graph, rank=spec.rank, arrays=arrays)
