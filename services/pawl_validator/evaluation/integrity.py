"""Is the adapter file what it says? Reads it without trusting it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import safe_open

from pawl_shared.artifacts import digest_of_file
from pawl_shared.models import lora_format
from pawl_shared.models.lora_format import TrainedAdapter
from pawl_shared.models.tensor_file import AdapterInvalidError
from pawl_validator.domain.gates import Integrity


def inspect(
    path: Path, version: str, base: str, base_dir: Path, parents: list[Path]
) -> tuple[Integrity, TrainedAdapter | None]:
    """What is found, and the adapter where it can be used.

    Args:
        version: the digest that the file must have.
        base: the digest of the base folder that it must have been trained on.
        parents: adapters that it must differ from (its parent, the champion).
    """
    if (found := digest_of_file(path)) != version:
        return Integrity(problems=(f"the file has digest {found[:12]}, not {version[:12]}",)), None
    try:
        adapter = lora_format.read_adapter(path, base=base)
    except AdapterInvalidError as error:
        return Integrity(problems=(str(error),)), None
    problems = tuple(_misfits(adapter, base_dir))
    usable = None if problems else adapter
    return (
        Integrity(
            problems=problems,
            tensors=len(adapter.tensors),
            change_from_start=_change(adapter),
            change_from_parent=min((_difference(adapter, parent) for parent in parents), default=None),
        ),
        usable,
    )


def _misfits(adapter: TrainedAdapter, base_dir: Path) -> list[str]:
    shapes = _shapes(base_dir)
    problems = []
    for module in adapter.modules():
        a, b = adapter.pair(module) or (None, None)
        expected = shapes.get(f"{module}.weight")
        if a is None or b is None or expected is None:
            problems.append(f"the base has no weight {module}")
        elif (b.shape[0], a.shape[1]) != expected:
            problems.append(f"{module} is for a weight of {(b.shape[0], a.shape[1])}, the base has {expected}")
    return problems[:3]


def _shapes(base_dir: Path) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for file in sorted(base_dir.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            found |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    return found


def _change(adapter: TrainedAdapter) -> float:
    """Largest absolute value in the update scale * B A; training starts at B = 0, where it is 0."""
    pairs = [adapter.pair(module) for module in adapter.modules()]
    return max((float(np.abs(adapter.scale * (p[1] @ p[0])).max()) for p in pairs if p is not None), default=0.0)


def _difference(adapter: TrainedAdapter, parent: Path) -> float:
    """Largest absolute difference between two updates, module by module."""
    other = lora_format.read_adapter(parent)
    largest = 0.0
    for module in set(adapter.modules()) | set(other.modules()):
        updates = [a.scale * (pair[1] @ pair[0]) for a in (adapter, other) if (pair := a.pair(module)) is not None]
        one = updates[0] if updates else np.zeros(1, np.float32)
        two = updates[1] if len(updates) > 1 else np.float32(0)
        largest = max(largest, float(np.abs(one - two).max()))
    return largest
