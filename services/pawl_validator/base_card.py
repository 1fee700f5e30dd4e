"""The card of a base model: what is served of it, and how far its serving graph is from the model in fp32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pawl_shared.models.graph_spec import GraphSpec
from pawl_validator.evaluation import probes
from pawl_validator.model_card import DATA, MARKDOWN, template
from pawl_validator.onnx_parity import Parity, check_parity

# 32 requests and 32 plain sentences, evenly from the frozen probe sets: 852 tokens of SmolLM2's.
TEXTS_OF_EACH = 32
_SETS: tuple[probes.SetName, ...] = ("prompts", "neutral_texts")


def texts() -> list[str]:
    """What fidelity is measured on, the same for every base."""
    return [probe.text for name in _SETS for probe in probes.spread(probes.load(name), TEXTS_OF_EACH)]


def measure(hf_folder: Path, graph_folder: Path, threads: int = 2) -> dict[str, float]:
    """Fidelity of a serving graph to torch in fp32: kl_mean, kl_max (nats), top1 (share), positions."""
    return numbers(check_parity(hf_folder, graph_folder, texts(), threads=threads))


def numbers(parity: Parity) -> dict[str, float]:
    """The same of a comparison that was made."""
    return {
        "kl_mean": parity.kl,
        "kl_max": parity.kl_max,
        "top1": parity.top1,
        "positions": float(parity.positions),
    }


def write_card(folder: Path, spec: GraphSpec, graph: str, size: int, licence: str, fidelity: dict[str, float]) -> None:
    """Write README.md and card.json into `folder`. `size`: of the graph's files, in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    data: dict[str, Any] = {
        "format": "pawl.base-card.v1",
        "name": spec.name,
        "version": spec.base,
        "graph": graph,
        "licence": licence,
        "precision": spec.precision,
        "bytes": size,
        "rank": spec.rank,
        "context_length": spec.context_length,
        "fidelity": fidelity,
        "texts": {name: probes.digest(name) for name in _SETS},
    }
    (folder / DATA).write_text(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False), encoding="utf-8")
    text = template("base_card.md.j2").render(**data)
    (folder / MARKDOWN).write_text(text, encoding="utf-8")
