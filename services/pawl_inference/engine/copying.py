"""Copies inside a device's memory, by ONNX Runtime itself: it offers none in Python, but an Identity node is one.

The model has `count` Identity nodes x0 -> y0, x1 -> y1 ...; binding them to addresses copies as many blocks in one run.
It is written here as protobuf by hand (onnx.proto, field numbers below), since a serving process has no `onnx`.
"""

from collections.abc import Sequence
from typing import Any

import onnxruntime

from pawl_inference.engine.provider import open_session
from pawl_inference.engine.settings import Provider

_FLOATS = {"float32": 1, "float16": 10}  # TensorProto.DataType
_IR_VERSION, _OPSET = 8, 17


class Copier:
    """Copies `count` blocks at once. Not safe to use from several threads."""

    def __init__(self, provider: Provider, element: str, count: int) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self._session: Any = open_session(identity_model(element, count), options, provider)
        self._provider, self._element = provider, element

    def copy(self, blocks: Sequence[tuple[int, int, int]]) -> None:
        """Copy blocks (source address, target address, elements) that do not overlap; done when it returns."""
        binding = self._session.io_binding()
        device, number = self._provider.name, self._provider.device_id
        for index, (source, target, size) in enumerate(blocks):
            binding.bind_input(f"x{index}", device, number, self._element, [size], source)
            binding.bind_output(f"y{index}", device, number, self._element, [size], target)
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()


def identity_model(element: str, count: int) -> bytes:
    """The model, serialised."""
    kind = _FLOATS[element]
    graph = b"".join(_field(1, _node(index)) for index in range(count)) + _field(2, b"copy")
    graph += b"".join(_field(11, _value(f"x{index}", kind)) for index in range(count))
    graph += b"".join(_field(12, _value(f"y{index}", kind)) for index in range(count))
    opset = _field(1, b"") + _number(2, _OPSET)
    return _number(1, _IR_VERSION) + _field(7, graph) + _field(8, opset)


def _node(index: int) -> bytes:
    return _field(1, f"x{index}".encode()) + _field(2, f"y{index}".encode()) + _field(4, b"Identity")


def _value(name: str, kind: int) -> bytes:
    tensor = _number(1, kind) + _field(2, _field(1, b""))  # one dimension, of any size
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(tag: int, content: bytes) -> bytes:
    return _varint(tag << 3 | 2) + _varint(len(content)) + content


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
