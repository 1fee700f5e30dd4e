"""Which ONNX Runtime execution provider computes, and what must be installed for it."""

from typing import Any

import onnxruntime

from pawl_inference.engine.settings import Provider, ProviderName
from pawl_shared.errors import ConfigurationError
from pawl_shared.models.graph_spec import Precision

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_INSTALL = (
    "install it with `pip uninstall -y onnxruntime` and `pip install 'onnxruntime-gpu[cuda,cudnn]'`, or set "
    "PAWL_ENGINE_PROVIDER=cpu"
)


def choose(name: ProviderName, device_id: int) -> Provider:
    """The provider of a setting.

    Raises:
        ConfigurationError: the installed ONNX Runtime has no such provider.
    """
    if name == "cuda" and _CUDA not in onnxruntime.get_available_providers():
        raise ConfigurationError(
            f"PAWL_ENGINE_PROVIDER=cuda, but the installed ONNX Runtime has no {_CUDA}; {_INSTALL}"
        )
    return Provider(name, device_id, on_device=name == "cuda")


def open_session(model: str | bytes, options: Any, provider: Provider) -> Any:
    """An inference session on a provider, of a file or of a model as bytes.

    Raises:
        ConfigurationError: the provider is installed but does not start.
    """
    if provider.name == "cpu":
        return onnxruntime.InferenceSession(model, options, providers=[_CPU])
    onnxruntime.preload_dlls()  # finds the CUDA and cuDNN libraries that pip installed
    # TF32 would round fp32 products to 10 bits; the arena must not double itself beside the cache.
    wanted = {"device_id": str(provider.device_id), "arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}
    session = onnxruntime.InferenceSession(model, options, providers=[(_CUDA, wanted), _CPU])
    if session.get_providers()[0] != _CUDA:  # ONNX Runtime itself goes on without it, with one line in the log
        raise ConfigurationError(
            f"{_CUDA} does not start on device {provider.device_id}: look at `nvidia-smi`, and whether its CUDA and "
            f"cuDNN are there; {_INSTALL}"
        )
    return session


def advice(provider: Provider, precision: Precision) -> str | None:
    """What to use instead, where a provider runs a graph's precision but not well."""
    if provider.name == "cpu" and precision == "fp16":
        return (
            "the serving graph is fp16, which CPUs compute by way of fp32, slowly; export int8 (PAWL_GRAPH_PRECISION)"
        )
    if provider.name == "cuda" and precision == "int8":
        return "the serving graph is int8, made for CPUs; on CUDA export fp16 (PAWL_GRAPH_PRECISION)"
    return None
