"""Key and value buffers of all rows, updated in place by the graph."""

import contextlib
import mmap
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pawl_shared.models.graph_spec import GraphSpec


class KvCache:
    """One buffer [rows, kv heads, context, head size] for each layer's keys and values.

    The memory is reserved, not used, until a row grows into it (SmolLM2-135M: 46 kB a token), page by page: numpy's own
    arrays would ask for huge pages, and the first token of a row would take 2 MB of each buffer.
    """

    def __init__(self, spec: GraphSpec, rows: int, context_length: int) -> None:
        shape = (rows, spec.kv_heads, context_length, spec.head_size)
        self.names = [(layer, part) for layer in range(spec.layers) for part in ("key", "value")]
        self.buffers: list[NDArray[Any]] = [_reserved(shape, spec.element) for _ in self.names]
        self.row_shape = shape[1:]
        self.token_bytes = sum(buffer.itemsize for buffer in self.buffers) * spec.kv_heads * spec.head_size

    def pointer(self, index: int, row: int) -> int:
        """Address of a row in a buffer; rows are contiguous, so any run of rows can be bound as a batch."""
        buffer = self.buffers[index]
        return int(buffer.ctypes.data) + row * int(buffer.strides[0])

    def pages(self, tokens: int) -> NDArray[Any]:
        """Memory for a copy of so many tokens of a row: [buffers, kv heads, tokens, head size].

        Pages of its own, which the system has back when it is dropped: on the heap, copies that are kept for long would
        lie between what is not, and the heap would grow though no more of it were used.
        """
        heads, _, size = self.row_shape
        return _reserved((len(self.buffers), heads, tokens, size), self.buffers[0].dtype)

    def read(self, row: int, start: int, pages: NDArray[Any]) -> None:
        """Copy a row's tokens from `start` on into memory that `pages` made."""
        np.stack([buffer[row, :, start : start + pages.shape[2]] for buffer in self.buffers], out=pages)

    def write(self, row: int, start: int, values: NDArray[Any]) -> None:
        """Put back what `read` copied, from token `start` of any row."""
        for buffer, part in zip(self.buffers, values, strict=True):
            buffer[row, :, start : start + part.shape[1]] = part

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of a row over another row."""
        for buffer in self.buffers:
            buffer[target, :, :length] = buffer[source, :, :length]

    def swap(self, first: int, second: int, length: int) -> None:
        """Exchange the first `length` tokens of two rows."""
        for buffer in self.buffers:
            kept = buffer[first, :, :length].copy()
            buffer[first, :, :length] = buffer[second, :, :length]
            buffer[second, :, :length] = kept


def _reserved(shape: tuple[int, ...], element: Any) -> NDArray[Any]:
    """Zeros that take memory when they are written to."""
    size = max(1, prod(shape) * np.dtype(element).itemsize)
    # Private: Python's default is shared memory, whose pages take longer to come and count as files.
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(AttributeError, OSError):  # not on Linux, or a kernel without huge pages
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, element, prod(shape)).reshape(shape)
