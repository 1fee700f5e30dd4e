"""The adapter file "pawl.lora.v1": one safetensors file with PEFT's tensor names and what it belongs to."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from pawl_trainer.spec import RunSpec


def save_adapter(path: Path, tensors: dict[str, torch.Tensor], spec: RunSpec) -> None:
    """Write `tensors` (fp32, on the CPU) with their base, rank and scale."""
    metadata = {
        "format": "pawl.lora.v1",
        "base": spec.base,
        "rank": str(spec.settings.rank),
        "alpha": str(spec.settings.alpha),
        "rslora": "false",
        "run": spec.run,
    }
    save_file(tensors, path, metadata=metadata)
