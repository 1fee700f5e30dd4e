"""Does the serving graph say what torch says? Kullback-Leibler divergence and top-1 agreement, token by token."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pawl_shared.models import lora_format, slot_format, slot_layout, tensor_file
from pawl_shared.models.graph_spec import GRAPH_FILE, TOKENIZER_FILE, GraphSpec, read_spec
from pawl_shared.models.tensor_file import Tensors


@dataclass(frozen=True)
class Parity:
    """Agreement of the serving graph with torch (float32) over all positions of all prompts."""

    positions: int
    kl: float  # mean KL(torch || graph), nats
    top1: float  # share of positions with the same likeliest token
    max_difference: float  # of logits
    kl_max: float = 0.0  # the largest of a position


def check_parity(
    hf_folder: Path,
    graph_folder: Path,
    prompts: Sequence[str],
    *,
    adapter_file: Path | None = None,
    slot_file: Path | None = None,
    graph: str = "",
    threads: int = 2,
) -> Parity:
    """Compare the graph with torch on texts, with an adapter (both of its files) or without.

    Args:
        adapter_file: the trained adapter, merged into the torch model.
        slot_file: the same adapter as packed for the graph (digest `graph`): the file that will be served.

    Raises:
        AdapterInvalidError: a file is damaged or the two do not belong together.
    """
    from tokenizers import Tokenizer

    spec = read_spec(graph_folder)
    arrays: Tensors = {}
    if slot_file is not None and adapter_file is not None:
        version = tensor_file.file_digest(adapter_file)
        arrays = slot_format.read_slots(slot_file, spec, graph=graph, adapter=version).arrays
    tokenizer = Tokenizer.from_file(str(graph_folder / TOKENIZER_FILE))
    model = load_merged(hf_folder, adapter_file)
    session = _session(graph_folder, threads)
    divergences, matches, difference = [], [], 0.0
    for prompt in prompts:
        ids = tokenizer.encode(prompt, add_special_tokens=False).ids[: spec.context_length]
        expected, found = _torch_logits(model, ids), _graph_logits(session, spec, arrays, ids)
        divergences.append(_kl(expected, found))
        matches.append(expected.argmax(-1) == found.argmax(-1))
        difference = max(difference, float(np.abs(expected - found).max()))
    agreed, apart = np.concatenate(matches), np.concatenate(divergences)
    return Parity(len(agreed), float(apart.mean()), float(agreed.mean()), difference, float(apart.max()))


def load_merged(hf_folder: Path, adapter_file: Path | None) -> Any:
    """The torch model in float32, ready to be read, with the adapter added to its weights (W + scale * B A)."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(hf_folder), dtype=torch.float32).eval()
    if adapter_file is not None:
        adapter = lora_format.read_adapter(adapter_file)
        with torch.no_grad():
            for module in adapter.modules():
                a, b = adapter.pair(module) or (None, None)
                delta = adapter.scale * (torch.from_numpy(b) @ torch.from_numpy(a))
                model.get_submodule(module).weight.add_(delta)
    return model


def _session(graph_folder: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = str(graph_folder / GRAPH_FILE)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _torch_logits(model: Any, ids: list[int]) -> NDArray[np.float32]:
    import torch

    with torch.no_grad():
        logits: NDArray[np.float32] = model(torch.tensor([ids])).logits[0].float().numpy()
    return logits


def _graph_logits(session: Any, spec: GraphSpec, arrays: Tensors, ids: list[int]) -> NDArray[np.float32]:
    length = len(ids)
    feeds: dict[str, Any] = {
        "input_ids": np.array([ids], np.int64),
        "seqlens_k": np.array([length - 1], np.int32),
        "total_sequence_length": np.array(length, np.int32),
        "positions": np.arange(length, dtype=np.int64),
        "shape_2d": np.array([length, -1], np.int64),
        "shape_3d": np.array([1, length, -1], np.int64),
    }
    empty = np.zeros((1, spec.kv_heads, 0, spec.head_size), spec.element)
    for layer in range(spec.layers):
        feeds[f"past_key_values.{layer}.key"] = feeds[f"past_key_values.{layer}.value"] = empty
    feeds |= slot_layout.choice(spec, [0 if arrays else None], (0, 0), length)
    held = slot_layout.arrange(spec, arrays) if arrays else {}
    for name, shape in slot_layout.slot_shapes(spec).items():
        array = held.get(name, np.zeros(shape, spec.element))
        feeds[name] = np.ascontiguousarray(array).reshape(slot_layout.bound_shape(spec, shape, 1))
    logits: NDArray[np.float32] = session.run(["logits"], feeds)[0][0].astype(np.float32)
    return logits


def _kl(expected: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float32]:
    """KL(expected || found) of the distributions at each position: logits [positions, vocabulary] -> [positions]."""
    divergence = np.empty(len(expected), np.float32)
    for position in range(len(expected)):  # row by row: a row fits into the cache, all of them are 60 MB and more
        p, q = _log_softmax(expected[position]), _log_softmax(found[position])
        divergence[position] = np.exp(p) @ (p - q)
    return divergence


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted: NDArray[np.float32] = logits - logits.max()
    shifted -= np.log(np.exp(shifted).sum())
    return shifted
