"""Cache, adapter slots and steps whose memory lies on the provider's device (CUDA), not in numpy's.

ONNX Runtime allocates there (OrtValue); batches and slots are parts of it by address, as on the CPU. What a binding
finds in CPU memory it copies to the device once, when it is bound, so small inputs are bound anew for every step
(https://onnxruntime.ai/docs/performance/tune-performance/iobinding.html).
"""

import math
from functools import cached_property
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pawl_inference.engine.copying import Copier
from pawl_inference.engine.graph import Scalar, ServingGraph, Step
from pawl_inference.engine.kv_cache import KvCache
from pawl_inference.engine.places import Places
from pawl_inference.engine.settings import Provider
from pawl_inference.engine.slots import SlotPool
from pawl_shared.models import slot_layout
from pawl_shared.models.graph_spec import GraphSpec
from pawl_shared.models.tensor_file import Tensors


def new_cache(graph: ServingGraph, rows: int, context_length: int) -> KvCache:
    """A cache where the graph computes."""
    if graph.provider.on_device:
        return DeviceKvCache(graph.spec, rows, context_length, graph.provider)
    return KvCache(graph.spec, rows, context_length)


def new_slots(graph: ServingGraph, digest: str, count: int) -> SlotPool:
    """Adapter slots where the graph computes."""
    if graph.provider.on_device:
        return DeviceSlotPool(graph.spec, digest, count, graph.provider)
    return SlotPool(graph.spec, digest, count)


def new_step(
    graph: ServingGraph,
    cache: KvCache,
    slots: SlotPool,
    row: int,
    rows: int,
    span: tuple[int, int],
    logits: NDArray[Any] | None = None,
) -> Step:
    """A step on such a cache and such slots."""
    kind = DeviceStep if graph.provider.on_device else Step
    return kind(graph, cache, slots, row, rows, span, logits)


def _put(array: NDArray[Any], provider: Provider) -> Any:
    """An OrtValue on the device with the content of an array."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(array, provider.name, provider.device_id)


class DeviceKvCache(KvCache):
    """As `KvCache`. Whole rows are copied: a device's memory is fast, and its heads lie apart in a row."""

    def __init__(self, spec: GraphSpec, rows: int, context_length: int, provider: Provider) -> None:
        super().__init__(spec, 0, context_length)
        zeros = np.zeros((rows, *self.row_shape), spec.element)
        self._row_bytes = zeros.nbytes // rows
        # Zeros, since memory as it comes may hold what is no number, and 0 times that is none either.
        self._values = [_put(zeros.copy(), provider) for _ in self.names]
        self._spare = [_put(zeros[0].copy(), provider) for _ in self.names]
        self._provider, self._element = provider, spec.element

    def pointer(self, index: int, row: int) -> int:
        """See `KvCache.pointer`."""
        return int(self._values[index].data_ptr()) + row * self._row_bytes

    def move(self, source: int, target: int, length: int) -> None:
        """See `KvCache.move`."""
        self._copy(self._addresses(source), self._addresses(target))

    def swap(self, first: int, second: int, length: int) -> None:
        """See `KvCache.swap`."""
        spare = [int(value.data_ptr()) for value in self._spare]
        self._copy(self._addresses(first), spare)
        self._copy(self._addresses(second), self._addresses(first))
        self._copy(spare, self._addresses(second))

    def _addresses(self, row: int) -> list[int]:
        return [self.pointer(index, row) for index in range(len(self.names))]

    @cached_property
    def _copier(self) -> Copier:
        return Copier(self._provider, self._element, len(self.names))

    def _copy(self, sources: list[int], targets: list[int]) -> None:
        size = math.prod(self.row_shape)
        self._copier.copy([(source, target, size) for source, target in zip(sources, targets, strict=True)])


class DeviceSlotPool(SlotPool):
    """As `SlotPool`: a slot is written on the device, in its place between the others."""

    def __init__(self, spec: GraphSpec, graph: str, count: int, provider: Provider) -> None:
        super().__init__(spec, graph, 0)
        self.count, self._holders = count, [0] * count
        self._places = Places(count, exchange=math.inf)  # its memory is fast
        self._provider = provider
        self._values = {
            name: _put(np.zeros((count, *shape), spec.element), provider) for name, shape in self._shapes.items()
        }
        self._copier = Copier(provider, spec.element, len(self._values))

    def address(self, name: str, first: int, last: int) -> tuple[int, list[int]]:
        """See `SlotPool.address`."""
        shape = self._shapes[name]
        start = first * math.prod(shape) * np.dtype(self.spec.element).itemsize
        return int(self._values[name].data_ptr()) + start, slot_layout.bound_shape(self.spec, shape, last - first + 1)

    def _fill(self, slot: int, arrays: Tensors) -> None:
        arranged = slot_layout.arrange(self.spec, arrays)
        staged = {name: _put(np.ascontiguousarray(array), self._provider) for name, array in arranged.items()}
        blocks = []
        for name, value in staged.items():
            target, shape = self.address(name, slot, slot)
            blocks.append((int(value.data_ptr()), target, math.prod(shape)))
        self._copier.copy(blocks)


class DeviceStep(Step):
    """As `Step`, with its inputs bound anew for every run."""

    def __init__(self, *shape: Any) -> None:
        self._host: dict[str, NDArray[Any]] = {}
        super().__init__(*shape)

    def _input(self, name: str, array: NDArray[Scalar]) -> NDArray[Scalar]:
        self._host[name] = array
        return array

    def _execute(self) -> None:
        for name, array in self._host.items():
            self._binding.bind_cpu_input(name, array)
        self._binding.synchronize_inputs()
        super()._execute()
        self._binding.synchronize_outputs()
