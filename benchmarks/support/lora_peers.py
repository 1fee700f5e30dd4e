"""One LoRA adapter in two other engines: llama.cpp (Q8_0 weights), and torch with peft (float32)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.harness import Run, rate
from numpy.typing import NDArray

from pawl_shared.models import lora_format
from pawl_shared.models.graph_spec import GraphSpec
from pawl_shared.models.lora_format import TrainedAdapter

MISSING = (
    "llama.cpp was not measured: put its `llama-batched-bench` on PATH or name it by PAWL_LLAMA_BATCHED_BENCH "
    "(https://github.com/ggml-org/llama.cpp: cmake -B build && cmake --build build --target llama-batched-bench)"
)
_MODULE = re.compile(r"model\.layers\.(\d+)\.\w+\.(\w+)_proj")
_GGUF_NAMES = {
    "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up",
    "down": "ffn_down",
}  # fmt: skip


def shapes(spec: GraphSpec) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of every module that the graph has a place for."""
    return {
        module: (site.inputs, outputs)
        for site in spec.sites
        for module, outputs in zip(site.modules, site.outputs, strict=True)
    }


def random_adapter(path: Path, modules: dict[str, tuple[int, int]], seed: int, rank: int) -> None:
    """Write a trained adapter with random weights for modules of (inputs, outputs)."""
    random = np.random.default_rng(seed)
    tensors: dict[str, NDArray[np.float32]] = {}
    for module, (inputs, outputs) in modules.items():
        prefix = f"base_model.model.{module}"
        tensors[f"{prefix}.lora_A.weight"] = random.normal(0, 0.02, (rank, inputs)).astype(np.float32)
        tensors[f"{prefix}.lora_B.weight"] = random.normal(0, 0.02, (outputs, rank)).astype(np.float32)
    lora_format.write_adapter(path, tensors, base="0" * 64, rank=rank, alpha=2 * rank, rslora=False, run="benchmark")


def write_gguf(path: Path, adapter: TrainedAdapter, heads: int, kv_heads: int) -> Path:
    """The adapter as llama.cpp reads it, f16 as its own converter writes it.

    llama.cpp rotates neighbouring values where the Hugging Face model rotates the halves of a head, so the outputs of q
    and k are in another order.
    """
    from gguf import GGUFWriter

    writer = GGUFWriter(str(path), "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", adapter.scale * adapter.rank)
    for module in adapter.modules():
        found = _MODULE.fullmatch(module)
        pair = adapter.pair(module)
        if found is None or pair is None:
            raise ValueError(f"{module} has no place in a llama of llama.cpp")
        a, b = pair
        if found[2] in ("q", "k"):
            b = _interleaved(b, heads if found[2] == "q" else kv_heads)
        name = f"blk.{found[1]}.{_GGUF_NAMES[found[2]]}.weight"
        writer.add_tensor(f"{name}.lora_a", a.astype(np.float16))
        writer.add_tensor(f"{name}.lora_b", b.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _interleaved(b: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    half = b.shape[0] // heads // 2
    return b.reshape(heads, 2, half, b.shape[1]).swapaxes(1, 2).reshape(b.shape)


def batched_bench() -> str | None:
    """llama.cpp's own benchmark of batches."""
    return os.environ.get("PAWL_LLAMA_BATCHED_BENCH") or shutil.which("llama-batched-bench")


def llama_run(
    program: str, model: Path, adapter: Path, *, rows: int, context: int, steps: int, threads: int, value: str
) -> Run:
    """A process of it for each round, without sampling. `value`: `speed_tg` (decoding) or `speed_pp` (prefill).

    `steps` is at most 64, which the rows' contexts have room for.
    """
    command = [program, "-m", str(model), "--lora", str(adapter), "-t", str(threads), "-tb", str(threads), "-pps"]
    command += ["-npp", str(context), "-ntg", str(steps), "-npl", str(rows), "-c", str(rows * (context + 64))]
    command += ["--output-format", "jsonl"]

    def run() -> float:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            raise RuntimeError(f"llama-batched-bench ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return float(json.loads(lines[-1])[value])

    return run


def load_peft(hf_folder: Path, adapter: TrainedAdapter, threads: int) -> Any:
    """The torch model in float32 with the adapter beside its weights, not merged: as it is served by peft."""
    import torch
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(str(hf_folder), dtype=torch.float32)
    config = LoraConfig(
        r=adapter.rank, lora_alpha=int(adapter.scale * adapter.rank), target_modules="all-linear", task_type="CAUSAL_LM"
    )
    model = get_peft_model(model, config).eval()
    set_peft_model_state_dict(model, {name: torch.from_numpy(value) for name, value in adapter.tensors.items()})
    return model


def peft_run(model: Any, *, rows: int, context: int, steps: int) -> Run:
    """Greedy steps of a batch from `context` tokens on, with the model's own key/value cache."""
    import torch

    with torch.inference_mode():
        cache = model(torch.full((rows, context), 500), use_cache=True, logits_to_keep=1).past_key_values

    def work() -> None:
        with torch.inference_mode():
            tokens = torch.full((rows, 1), 500)
            for _ in range(steps):
                logits = model(tokens, past_key_values=cache, use_cache=True).logits
                tokens = logits[:, -1:].argmax(-1)
            cache.crop(-steps)

    return rate(work, steps * rows)
