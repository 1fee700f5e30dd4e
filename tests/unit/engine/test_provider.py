"""Which provider computes, what it says when it cannot, and copies by Identity nodes."""

from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest

from pawl_inference.engine import provider
from pawl_inference.engine.copying import Copier, identity_model
from pawl_inference.engine.settings import CPU, Provider
from pawl_inference.settings import InferenceSettings
from pawl_shared.errors import ConfigurationError


def test_the_cpu_is_the_default_and_needs_nothing() -> None:
    settings = InferenceSettings()
    assert provider.choose(settings.engine_provider, settings.engine_device) == CPU


def test_cuda_that_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(ConfigurationError, match=r"PAWL_ENGINE_PROVIDER=cuda.*onnxruntime-gpu\[cuda,cudnn\]"):
        provider.choose("cuda", 0)


def test_cuda_that_is_installed_works_in_device_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert provider.choose("cuda", 1) == Provider("cuda", 1, on_device=True)


def opened(monkeypatch: pytest.MonkeyPatch, started: str) -> list[object]:
    """Open a session on the second GPU where `started` is what ONNX Runtime starts."""
    asked: list[object] = []

    def session(model: str, options: object, providers: list[object]) -> SimpleNamespace:
        asked.extend(providers)
        return SimpleNamespace(get_providers=lambda: [started, "CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    provider.open_session("model.onnx", None, Provider("cuda", 1, on_device=True))
    return asked


def test_the_device_and_the_cpu_as_its_help_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    (name, options), helper = opened(monkeypatch, "CUDAExecutionProvider")  # type: ignore[misc]
    assert (name, options["device_id"], helper) == ("CUDAExecutionProvider", "1", "CPUExecutionProvider")


def test_cuda_that_does_not_start_is_an_error_and_not_a_slow_service(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="does not start on device 1: look at `nvidia-smi`"):
        opened(monkeypatch, "AzureExecutionProvider")


@pytest.mark.parametrize(
    ("name", "precision", "advised"),
    [("cpu", "int8", ""), ("cpu", "fp32", ""), ("cpu", "fp16", "int8"), ("cuda", "fp16", ""), ("cuda", "int8", "fp16")],
)
def test_a_precision_that_does_not_suit_the_provider(name: str, precision: str, advised: str) -> None:
    advice = provider.advice(Provider(name), precision)  # type: ignore[arg-type]
    assert f"export {advised}" in advice if advice else not advised


@pytest.mark.parametrize("element", ["float32", "float16"])
def test_blocks_are_copied_to_their_addresses(element: str) -> None:
    source, target = np.arange(24, dtype=element).reshape(4, 6), np.zeros((4, 6), element)
    row = source.strides[0]
    Copier(CPU, element, 2).copy(
        [
            (source.ctypes.data + row, target.ctypes.data + 3 * row, 6),
            (source.ctypes.data, target.ctypes.data, 6),
        ]
    )
    assert target[0].tolist() == source[0].tolist()
    assert target[3].tolist() == source[1].tolist()
    assert not target[1:3].any()


def test_the_model_of_copies_is_valid() -> None:
    onnx.checker.check_model(onnx.load_model_from_string(identity_model("float16", 200)))
