"""Random adapters, packed slot files, and answers collected from an engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pawl_shared.models import lora_format
from pawl_shared.models.graph_spec import GraphSpec, Site

BASE = "b" * 64
GRAPH = "9" * 64


def toy_spec(rank: int = 4) -> GraphSpec:
    """A graph description with a fused and a plain site, small enough to check by hand."""
    fused = Site(a="qkv.A", b="qkv.B", inputs=6, outputs=(6, 4), modules=("model.q", "model.k"))
    plain = Site(a="o.A", b="o.B", inputs=6, outputs=(5,), modules=("model.o",))
    return GraphSpec(
        name="toy",
        base=BASE,
        precision="fp32",
        rank=rank,
        gain=2.0,
        context_length=32,
        vocab_size=8,
        layers=1,
        kv_heads=1,
        head_size=2,
        eos_token_ids=(0,),
        special_tokens={},
        sites=(fused, plain),
    )


def random_tensors(spec: GraphSpec, seed: int, rank: int, size: float = 0.05) -> dict[str, NDArray[np.float32]]:
    """LoRA weights under their PEFT names for every module of a graph."""
    random = np.random.default_rng(seed)
    tensors: dict[str, NDArray[np.float32]] = {}
    for site in spec.sites:
        for module, outputs in zip(site.modules, site.outputs, strict=True):
            a = random.uniform(-1, 1, (rank, site.inputs)) / np.sqrt(site.inputs)
            b = random.normal(0, size, (outputs, rank))
            tensors[f"base_model.model.{module}.lora_A.weight"] = a.astype(np.float32)
            tensors[f"base_model.model.{module}.lora_B.weight"] = b.astype(np.float32)
    return tensors


def write_random_adapter(path: Path, spec: GraphSpec, seed: int, rank: int = 16, size: float = 0.05) -> str:
    """Write a trained adapter with random weights; returns its version."""
    return write_tensors(path, random_tensors(spec, seed, rank, size), rank=rank)


def write_tensors(path: Path, tensors: Mapping[str, NDArray[np.float32]], rank: int, base: str = BASE) -> str:
    """Write tensors as a trained adapter with alpha 32; returns its version."""
    return lora_format.write_adapter(path, tensors, base=base, rank=rank, alpha=32, rslora=False, run="test")


@dataclass(frozen=True)
class TinyServing:
    """A tiny model, its int8 serving graph, and packed adapters by version."""

    hf_folder: Path
    graph_folder: Path
    slot_files: dict[str, Path]
    adapter_files: dict[str, Path]

    @property
    def versions(self) -> list[str]:
        return list(self.slot_files)
