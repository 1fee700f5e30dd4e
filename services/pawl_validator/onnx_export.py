"""Exports a base model to a serving graph, and packs trained adapters for it."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pawl_shared.errors import BaseModelError
from pawl_shared.models import lora_format, slot_format, tensor_file
from pawl_shared.models.graph_spec import (
    GRAPH_FILE,
    TEMPLATE_FILE,
    TOKENIZER_FILE,
    GraphSpec,
    Precision,
    Site,
    read_spec,
    write_spec,
)
from pawl_validator import onnx_graph

Progress = Callable[[float, str], None]
# Block-wise int8 weights (32 values share a scale) with int8 activations (accuracy level 4): the fastest CPU kernels.
_BUILDER_OPTIONS = {
    "int8": ["accuracy_level=4", "block_size=32", "op_types_to_quantize=MatMul", "fuse_mlp_gate_up=true"],
    "fp16": ["fuse_mlp_gate_up=true", "fuse_qk_norm_gqa=false"],
    "fp32": ["fuse_mlp_gate_up=true"],
}
# Blocks of the shared product must not straddle its 128-wide steps, or a row's sum would depend on its neighbours.
_RANKS = (1, 2, 4, 8, 16, 32, 64, 128)


def export_base(
    hf_folder: Path,
    out_dir: Path,
    *,
    base: str,
    precision: Precision = "int8",
    rank: int = 16,
    context_length: int = 2048,
    progress: Progress | None = None,
) -> GraphSpec:
    """Write the serving graph of a base model to `out_dir` (created whole or not at all) and return its description.

    Args:
        hf_folder: as `pawl_shared.models.base_models.resolve` gives it.
        base: digest of that folder.
        precision: int8 weights (MatMulNBits) with fp32 around them, or all in fp16 or fp32.
        rank: highest adapter rank that the graph holds; a power of two up to 128.
        context_length: cap of prompt and answer together, in tokens; it bounds the key/value cache.

    Raises:
        BaseModelError: the architecture is not one that the builder or the adapter slots support.
    """
    if rank not in _RANKS:
        raise BaseModelError(f"a slot rank of {rank} is not possible; choose one of {_RANKS}")
    report = progress or _silent
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=".export-") as scratch:
        built, graph = Path(scratch) / "built", Path(scratch) / "graph"
        graph.mkdir()
        report(0.1, "building the ONNX graph")
        build(hf_folder, built, precision)
        report(0.8, "adding adapter slots")
        grouped = _grouped(precision, rank)
        sites = _rewrite(built, graph, _linear_modules(hf_folder), grouped)
        for name in (TOKENIZER_FILE, TEMPLATE_FILE):
            shutil.copyfile(hf_folder / name, graph / name)
        spec = _describe(hf_folder, built, sites, base, precision, rank, context_length, grouped)
        write_spec(graph, spec)
        if out_dir.exists():
            shutil.rmtree(out_dir)
        graph.rename(out_dir)
    report(1.0, "the serving graph is ready")
    return spec


def build(hf_folder: Path, built: Path, precision: Precision) -> None:
    """Write the model builder's own graph, without adapter slots, to the folder `built`.

    Raises:
        BaseModelError: the builder does not know the architecture.
    """
    from onnxruntime_genai.models.builder import create_model, parse_extra_options

    cache = str(built.with_name("cache"))
    # For fp16 the builder knows grouped attention with rotation inside on CUDA only; without norms
    # fused into it the operators are the same.
    target = "cuda" if precision == "fp16" else "cpu"
    arguments = ("", str(hf_folder), str(built), precision, target, cache)
    try:
        create_model(*arguments, **parse_extra_options(*arguments, _BUILDER_OPTIONS[precision]))
    except (NotImplementedError, ValueError, KeyError, AttributeError) as error:
        raise BaseModelError(f"the ONNX builder cannot export this architecture: {error}") from error
    if not (built / GRAPH_FILE).is_file():
        raise BaseModelError("the ONNX builder wrote no graph; is this a decoder-only text model?")


def pack_adapter(adapter_file: Path, graph_folder: Path, graph: str, out_path: Path) -> str:
    """Write the slot file of a trained adapter for a graph (digest `graph`) and return the slot file's digest.

    Raises:
        AdapterInvalidError: the adapter is damaged or does not fit; nothing is written.
    """
    spec = read_spec(graph_folder)
    adapter = lora_format.read_adapter(adapter_file, base=spec.base)
    arrays = slot_format.pack(adapter, spec)
    out_path.parent.mkdir(parents=True, exist_ok=True)
    version = tensor_file.file_digest(adapter_file)
    return slot_format.write_slots(out_path, arrays, adapter=version, base=spec.base, graph=graph, rank=spec.rank)


def _silent(_fraction: float, _message: str) -> None:
    return None


def _grouped(precision: Precision, rank: int) -> bool:
    """Grouped graphs are faster on the CPU, which computes int8 and fp32; fp16 is for CUDA."""
    return precision != "fp16" and rank <= onnx_graph.GROUPED_RANK_LIMIT


def _rewrite(built: Path, graph: Path, modules: frozenset[str], grouped: bool) -> list[Site]:
    import onnx

    model = onnx.load(built / GRAPH_FILE, load_external_data=False)
    sites = onnx_graph.rewrite(model, modules, grouped=grouped)
    onnx.save(model, graph / GRAPH_FILE)
    # The weights are untouched: the new graph refers to the same file.
    (built / f"{GRAPH_FILE}.data").rename(graph / f"{GRAPH_FILE}.data")
    return sites


def _linear_modules(hf_folder: Path) -> frozenset[str]:
    from safetensors import safe_open

    names: set[str] = set()
    for file in hf_folder.glob("*.safetensors"):
        with safe_open(file, framework="numpy") as tensors:
            names.update(name.removesuffix(".weight") for name in tensors.keys())  # noqa: SIM118 (not a dict)
    return frozenset(names)


def _describe(
    hf_folder: Path,
    built: Path,
    sites: list[Site],
    base: str,
    precision: Precision,
    rank: int,
    context_length: int,
    grouped: bool,
) -> GraphSpec:
    built_config = json.loads((built / "genai_config.json").read_text(encoding="utf-8"))["model"]
    decoder = built_config["decoder"]
    info = json.loads((hf_folder / "pawl_base.json").read_text(encoding="utf-8"))
    return GraphSpec(
        format="pawl.graph.v2" if grouped else "pawl.graph.v1",
        name=info["name"],
        base=base,
        precision=precision,
        rank=rank,
        gain=onnx_graph.GROUPED_GAIN if grouped else onnx_graph.MASKED_GAIN,
        context_length=min(context_length, int(built_config["context_length"])),
        vocab_size=int(built_config["vocab_size"]),
        layers=int(decoder["num_hidden_layers"]),
        kv_heads=int(decoder["num_key_value_heads"]),
        head_size=int(decoder["head_size"]),
        eos_token_ids=tuple(sorted(_eos_ids(hf_folder))),
        special_tokens=_special_tokens(hf_folder),
        sites=tuple(sites),
    )


def _eos_ids(hf_folder: Path) -> set[int]:
    """All tokens that end an answer: models list them in either or both of two files."""
    found: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        if (hf_folder / name).is_file():
            value: Any = json.loads((hf_folder / name).read_text(encoding="utf-8")).get("eos_token_id")
            found.update(value if isinstance(value, Iterable) else [] if value is None else [value])
    if not found:
        raise BaseModelError("the base model names no end-of-turn token; set eos_token_id in generation_config.json")
    return found


def _special_tokens(hf_folder: Path) -> dict[str, str]:
    config: dict[str, Any] = json.loads((hf_folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    found = {name: config.get(name) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
    texts = {name: value["content"] if isinstance(value, dict) else value for name, value in found.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}
