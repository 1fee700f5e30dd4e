"""The safetensors file that either kind of adapter is: one file, so that one digest names the whole of it.

What cannot be read whole is refused with its fault and a sentence.
"""

import hashlib
import json
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pawl_shared.errors import AdapterRejectedError

# Larger finite values could overflow to inf inside the shared product of a mixed batch, and inf * mask 0 = NaN would
# then reach the rows of other versions. 65504 is the largest half-precision number.
MAX_ABSOLUTE = 65504.0

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


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_values(arrays: Tensors) -> None:
    """Raises AdapterInvalidError: a value that is not finite, or too large."""
    for name, array in arrays.items():
        # NaN and infinity come through min and max, which need no copy of the array.
        largest = max(array.max(), -array.min()) if array.size else 0.0
        if not np.isfinite(largest):
            raise AdapterInvalidError(Fault.NOT_FINITE, f"{name} holds NaN or infinite values")
        if largest > MAX_ABSOLUTE:
            raise AdapterInvalidError(Fault.NOT_FINITE, f"{name} holds values beyond {MAX_ABSOLUTE:.0f}")


def load(path: Path, expected: str) -> tuple[dict[str, str], Tensors]:
    """Metadata and tensors of a file of this format.

    Raises:
        AdapterInvalidError: it cannot be read, is of another format, or holds tensors of another type.
    """
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


def save(path: Path, arrays: Tensors, metadata: dict[str, str]) -> None:
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
