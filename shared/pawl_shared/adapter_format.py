"""The two adapter files: what the trainer writes (`pawl.lora.v1`) and what inference binds (`pawl.slots.v1`).

Both are one safetensors file each, so that one digest names the whole of it. Everything that is read is checked, and a
file that cannot be served is refused with its fault and a sentence.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pawl_shared.errors import AdapterRejectedError
from pawl_shared.graph_spec import GraphSpec, Site

LORA_FORMAT = "pawl.lora.v1"
SLOTS_FORMAT = "pawl.slots.v1"
# Larger finite values could overflow to inf inside the shared product of a mixed batch, and inf * mask 0 = NaN would
# then reach the rows of other versions. 65504 is the largest half-precision number.
MAX_ABSOLUTE = 65504.0
_PEFT_PREFIX = "base_model.model."
_PEFT_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<part>[AB])\.weight")
_UNSUPPORTED = {
    "lora_magnitude_vector": "DoRA magnitudes",
    "lora_embedding_": "adapters of the embedding",
    "modules_to_save": "fully trained modules (modules_to_save)",
    ".bias": "trained biases",
}

Tensors = dict[str, NDArray[np.float32]]


class Fault(StrEnum):
    """Why an adapter was refused."""

    UNREADABLE = "unreadable"
    WRONG_FORMAT = "wrong_format"
    WRONG_BASE = "wrong_base"
    WRONG_GRAPH = "wrong_graph"
    WRONG_VERSION = "wrong_version"
    RANK = "rank"
    SHAPE = "shape"
    NOT_FINITE = "not_finite"
    UNKNOWN_TENSOR = "unknown_tensor"
    UNSUPPORTED = "unsupported"
    EMPTY = "empty"


class AdapterInvalidError(AdapterRejectedError):
    """An adapter file that was refused, with the kind of fault for reports and metrics."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(f"adapter refused ({fault.value}): {message}")
        self.fault = fault


@dataclass(frozen=True)
class TrainedAdapter:
    """A LoRA adapter as trained: W + scale * B A for each module (Hu et al. 2021, arXiv:2106.09685)."""

    base: str
    rank: int
    alpha: float
    rslora: bool
    run: str
    tensors: Tensors  # PEFT names; lora_A [rank, inputs], lora_B [outputs, rank]

    @property
    def scale(self) -> float:
        """alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA (Kalajdzievski 2023, arXiv:2312.03732)."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def modules(self) -> list[str]:
        """The adapted modules, by their Hugging Face path."""
        return sorted(
            name.removeprefix(_PEFT_PREFIX)[: -len(".lora_A.weight")] for name in self.tensors if "_A." in name
        )

    def pair(self, module: str) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """A and B of a module, or None where it is not adapted."""
        a = self.tensors.get(f"{_PEFT_PREFIX}{module}.lora_A.weight")
        b = self.tensors.get(f"{_PEFT_PREFIX}{module}.lora_B.weight")
        return None if a is None or b is None else (a, b)


@dataclass(frozen=True)
class SlotFile:
    """An adapter packed for one graph: arrays by graph input, ready to be copied into a slot."""

    adapter: str
    base: str
    graph: str
    rank: int
    arrays: Tensors


def write_adapter(
    path: Path,
    tensors: Mapping[str, NDArray[np.float32]],
    *,
    base: str,
    rank: int,
    alpha: float,
    rslora: bool,
    run: str,
) -> str:
    """Write a trained adapter atomically and return its digest, which is its version. Refuses what a reader would."""
    metadata = {
        "format": LORA_FORMAT,
        "base": base,
        "rank": str(rank),
        "alpha": f"{alpha:g}",
        "rslora": str(rslora).lower(),
        "run": run,
    }
    arrays = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in tensors.items()}
    _check_adapter(TrainedAdapter(base, rank, alpha, rslora, run, arrays))
    _save(path, arrays, metadata)
    return file_digest(path)


def read_adapter(path: Path, base: str | None = None) -> TrainedAdapter:
    """Read a trained adapter; `base`, where given, is the digest that it must have been trained on.

    Raises:
        AdapterInvalidError: damaged, of another format or base, not finite, or with tensors that cannot be served.
    """
    metadata, tensors = _load(path, LORA_FORMAT)
    try:
        rank, alpha = int(metadata["rank"]), float(metadata["alpha"])
    except (KeyError, ValueError) as error:
        raise AdapterInvalidError(Fault.WRONG_FORMAT, "rank or alpha is missing from its metadata") from error
    adapter = TrainedAdapter(
        base=metadata.get("base", ""),
        rank=rank,
        alpha=alpha,
        rslora=metadata.get("rslora", "false") == "true",
        run=metadata.get("run", ""),
        tensors=tensors,
    )
    if base is not None and adapter.base != base:
        raise AdapterInvalidError(
            Fault.WRONG_BASE, f"it was trained on base {adapter.base[:12] or 'unknown'}, not on {base[:12]}"
        )
    _check_adapter(adapter)
    return adapter


def pack(adapter: TrainedAdapter, spec: GraphSpec) -> Tensors:
    """Lay an adapter out for a graph: A [blocks*rank, inputs], B [blocks*rank, sum(outputs)], scale folded into B.

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
    _check_values(arrays)
    return arrays


def _pack_site(adapter: TrainedAdapter, site: Site, spec: GraphSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    a = np.zeros((site.blocks * spec.rank, site.inputs), np.float32)
    b = np.zeros((site.blocks * spec.rank, sum(site.outputs)), np.float32)
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
            rows = slice(block * spec.rank, block * spec.rank + adapter.rank)
            a[rows] = pair[0]
            b[rows, column : column + outputs] = pair[1].T * np.float32(adapter.scale * spec.gain)
        column += outputs
    return a, b


def write_slots(path: Path, arrays: Tensors, *, adapter: str, base: str, graph: str, rank: int) -> str:
    """Write a slot file atomically and return its digest."""
    _save(path, arrays, {"format": SLOTS_FORMAT, "adapter": adapter, "base": base, "graph": graph, "rank": str(rank)})
    return file_digest(path)


def read_slots(path: Path, spec: GraphSpec, *, graph: str, adapter: str) -> SlotFile:
    """Read and check a slot file for a graph and the version that it should hold.

    Raises:
        AdapterInvalidError: damaged, made for another base, graph or version, or with arrays that do not fit.
    """
    metadata, arrays = _load(path, SLOTS_FORMAT)
    for key, expected, fault in (
        ("base", spec.base, Fault.WRONG_BASE),
        ("graph", graph, Fault.WRONG_GRAPH),
        ("adapter", adapter, Fault.WRONG_VERSION),
        ("rank", str(spec.rank), Fault.RANK),
    ):
        found = metadata.get(key, "")
        if found != expected:
            raise AdapterInvalidError(fault, f"the file is for {key} {found[:12] or 'unknown'}, not {expected[:12]}")
    shapes = {site.a: (site.blocks * spec.rank, site.inputs) for site in spec.sites}
    shapes |= {site.b: (site.blocks * spec.rank, sum(site.outputs)) for site in spec.sites}
    if unknown := set(arrays) - set(shapes):
        raise AdapterInvalidError(Fault.UNKNOWN_TENSOR, f"the graph has no input {sorted(unknown)[0]}")
    for name, shape in shapes.items():
        if name not in arrays or arrays[name].shape != shape:
            found_shape = arrays[name].shape if name in arrays else "missing"
            raise AdapterInvalidError(Fault.SHAPE, f"{name} is {found_shape}, not {shape}")
    _check_values(arrays)
    return SlotFile(adapter=adapter, base=spec.base, graph=graph, rank=spec.rank, arrays=arrays)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_adapter(adapter: TrainedAdapter) -> None:
    if not 1 <= adapter.rank <= 1024:
        raise AdapterInvalidError(Fault.RANK, f"a rank of {adapter.rank} makes no sense")
    if not math.isfinite(adapter.alpha):
        raise AdapterInvalidError(Fault.NOT_FINITE, f"alpha is {adapter.alpha}")
    for name in sorted(adapter.tensors):
        for mark, what in _UNSUPPORTED.items():
            if mark in name:
                raise AdapterInvalidError(Fault.UNSUPPORTED, f"{name}: {what} cannot be served from a slot; merge it")
        found = _PEFT_NAME.fullmatch(name)
        if found is None:
            raise AdapterInvalidError(Fault.UNKNOWN_TENSOR, f"{name} is not a LoRA weight under its PEFT name")
        if adapter.pair(found["module"]) is None:
            raise AdapterInvalidError(Fault.SHAPE, f"{found['module']} has only one of lora_A and lora_B")
        shape = adapter.tensors[name].shape
        if len(shape) != 2 or shape["AB".index(found["part"])] != adapter.rank:
            raise AdapterInvalidError(Fault.RANK, f"{name} is {shape}, which is not of rank {adapter.rank}")
    if not adapter.tensors:
        raise AdapterInvalidError(Fault.EMPTY, "it has no tensors")
    _check_values(adapter.tensors)


def _check_values(arrays: Tensors) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise AdapterInvalidError(Fault.NOT_FINITE, f"{name} holds NaN or infinite values")
        if array.size and np.abs(array).max() > MAX_ABSOLUTE:
            raise AdapterInvalidError(Fault.NOT_FINITE, f"{name} holds values beyond {MAX_ABSOLUTE:.0f}")


def _load(path: Path, expected: str) -> tuple[dict[str, str], Tensors]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, TypeError) as error:  # TypeError: a dtype that numpy does not know (bfloat16)
        raise AdapterInvalidError(
            Fault.UNREADABLE, f"not a whole safetensors file with float32 or float16 tensors ({error})"
        ) from error
    if metadata.get("format") != expected:
        raise AdapterInvalidError(Fault.WRONG_FORMAT, f"its format is {metadata.get('format')!r}, not {expected!r}")
    for name, tensor in tensors.items():
        if tensor.dtype not in (np.float32, np.float16):
            raise AdapterInvalidError(Fault.WRONG_FORMAT, f"{name} is {tensor.dtype}; save it as float32")
    return metadata, {name: tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}


def _save(path: Path, arrays: Tensors, metadata: dict[str, str]) -> None:
    """Write float32 arrays in the safetensors layout: header length (u64), JSON header, then the data in order.

    The library's own writer puts the metadata in a random order; here the same adapter gives the same bytes, and with
    them the same version.
    """
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    ordered = {name: np.ascontiguousarray(arrays[name], dtype="<f4") for name in sorted(arrays)}
    offset = 0
    for name, array in ordered.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in ordered.values():
            file.write(array.tobytes())
    partial.replace(path)
