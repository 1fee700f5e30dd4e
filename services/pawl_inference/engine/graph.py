"""The serving graph on ONNX Runtime, and steps with all their buffers bound."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pawl_inference.engine.kv_cache import KvCache
from pawl_inference.engine.provider import open_session
from pawl_inference.engine.settings import CPU, Provider
from pawl_inference.engine.slots import SlotPool
from pawl_shared.models import slot_layout
from pawl_shared.models.graph_spec import GRAPH_FILE, GraphSpec, Site, read_spec

Scalar = TypeVar("Scalar", bound=np.generic)


def session_options(threads: int, spin_microseconds: int) -> Any:
    """ONNX Runtime's options for threads that look for work that long before they sleep."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # It would keep a plan of its buffers for every set of input shapes that ever came (SmolLM2-135M: 25 kB for each
    # length of a piece and each size of a batch), and with these shapes saves no time (within 1 %).
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin_microseconds else "0")
    if spin_microseconds:
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin_microseconds))
    return options


class ServingGraph:
    """An inference session over a serving graph folder."""

    def __init__(self, folder: Path, threads: int, spin_microseconds: int, provider: Provider = CPU) -> None:
        self.spec: GraphSpec = read_spec(folder)
        self.provider = provider
        options = session_options(threads, spin_microseconds)
        self.session: Any = open_session(str(folder / GRAPH_FILE), options, self.provider)


class Step:
    """`rows` rows from `row`, bound once and run many times, with as many new tokens each as a run is given.

    Adapter slots first..last are bound as they lie in the pool; further inputs put each row on its own. An IO binding
    holds raw pointers, so everything it points to is kept here.

    Another number of tokens than before binds a few small inputs anew (70 us). A binding for each (219 kB and 2 ms with
    SmolLM2-135M) would be made for nearly every prompt, and let the heap grow by some 50 bytes, as small
    parts of memory come and go between others that stay.

    Args:
        logits: where to put them: [rows at least, 1, vocabulary]. Steps that run one after the other may share it; by
            default each has memory of its own.
    """

    def __init__(
        self,
        graph: ServingGraph,
        cache: KvCache,
        slots: SlotPool,
        row: int,
        rows: int,
        span: tuple[int, int],
        logits: NDArray[Any] | None = None,
    ) -> None:
        self._session, self._spec, self._span = graph.session, graph.spec, span
        self._device = (graph.provider.name, graph.provider.device_id)
        self._binding = graph.session.io_binding()
        self._kept: dict[str, Any] = {"cache": cache, "slots": slots}
        self._assigned: tuple[int | None, ...] | None = None
        self._rows, self._length = rows, 1
        self._bind_length()
        self._ends = self._input("seqlens_k", np.zeros(rows, np.int32))
        self._total = self._input("total_sequence_length", np.zeros((), np.int32))
        self._bind_cache(cache, row, rows)
        for site in self._spec.sites:
            self._bind_site(slots, site)
        self._logits = new_logits(self._spec, rows) if logits is None else logits[:rows]
        self._bind("logits", self._logits, output=True)

    def run(self, ids: NDArray[np.int64], past: Sequence[int], slots: Sequence[int | None]) -> NDArray[np.float32]:
        """Run one step and return the last position's logits [rows, vocabulary], valid until the next run (of any step
        that shares their memory).

        Args:
            ids: new tokens [rows, length].
            past: tokens that each row has in the cache.
            slots: each row's slot, None for the base.
        """
        if ids.shape[1] != self._length:
            self._length, self._assigned = ids.shape[1], None
            self._bind_length()
        self._assign(tuple(slots))
        self._ids[:] = ids
        self._ends[:] = np.asarray(past, np.int32) + (self._length - 1)
        self._total[...] = self._ends.max() + 1
        self._execute()
        return self._logits[:, 0].astype(np.float32, copy=False)

    def _execute(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def _assign(self, slots: tuple[int | None, ...]) -> None:
        if slots == self._assigned:
            return
        for name, array in slot_layout.choice(self._spec, slots, self._span, self._length).items():
            self._input(name, array)
        self._assigned = slots

    def _bind_length(self) -> None:
        rows, length = self._rows, self._length
        self._ids = self._input("input_ids", np.zeros((rows, length), np.int64))
        self._input("positions", np.array([length - 1], np.int64))
        self._input("shape_2d", np.array([rows * length, -1], np.int64))
        self._input("shape_3d", np.array([rows, length, -1], np.int64))

    def _bind_cache(self, cache: KvCache, row: int, rows: int) -> None:
        shape = [rows, *cache.row_shape]
        for index, (layer, part) in enumerate(cache.names):
            pointer = cache.pointer(index, row)
            # The same memory in and out: attention appends in place.
            element = self._spec.element
            self._binding.bind_input(f"past_key_values.{layer}.{part}", *self._device, element, shape, pointer)
            self._binding.bind_output(f"present.{layer}.{part}", *self._device, element, shape, pointer)

    def _bind_site(self, slots: SlotPool, site: Site) -> None:
        for name in (site.a, site.b):
            pointer, shape = slots.address(name, *self._span)
            self._binding.bind_input(name, *self._device, self._spec.element, shape, pointer)

    def _input(self, name: str, array: NDArray[Scalar]) -> NDArray[Scalar]:
        self._bind(name, array)
        return array

    def _bind(self, name: str, array: NDArray[Any], output: bool = False) -> None:
        self._kept[name] = array
        bind = self._binding.bind_output if output else self._binding.bind_input
        bind(name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data)


def new_logits(spec: GraphSpec, rows: int) -> NDArray[Any]:
    """Memory for the logits of a step: [rows, 1, vocabulary]."""
    return np.zeros((rows, 1, spec.vocab_size), spec.element)
