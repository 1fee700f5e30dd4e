"""The adapter as the trainer writes it (`pawl.lora.v1`).

Everything that is read is checked, and a file that cannot be served is refused with its fault and a sentence.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pawl_shared.models.tensor_file import AdapterInvalidError, Fault, Tensors, check_values, file_digest, load, save

LORA_FORMAT = "pawl.lora.v1"
_PEFT_PREFIX = "base_model.model."
_PEFT_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<part>[AB])\.weight")
_UNSUPPORTED = {
    "lora_magnitude_vector": "DoRA magnitudes",
    "lora_embedding_": "adapters of the embedding",
    "modules_to_save": "fully trained modules (modules_to_save)",
    ".bias": "trained biases",
}


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
    save(path, arrays, metadata)
    return file_digest(path)


def read_adapter(path: Path, base: str | None = None) -> TrainedAdapter:
    """Read a trained adapter; `base`, where given, is the digest that it must have been trained on.

    Raises:
        AdapterInvalidError: damaged, of another format or base, not finite, or with tensors that cannot be served.
    """
    metadata, tensors = load(path, LORA_FORMAT)
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
    check_values(adapter.tensors)
