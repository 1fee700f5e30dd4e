"""A tiny base with its graph, an adapter whose taste is known, and jobs that judge adapters against it."""

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from benchmarks.support.tiny_model import write_random_tiny
from numpy.typing import NDArray
from support.tiny_engine import random_tensors, write_tensors

from pawl_shared.artifacts import digest_of_file
from pawl_shared.child import Reporter
from pawl_shared.models import lora_format, tensor_file
from pawl_shared.models.graph_spec import GraphSpec
from pawl_shared.policies.model_policy import Gates, Probes
from pawl_validator import evaluate
from pawl_validator.evaluation import probes
from pawl_validator.evaluation.heldout import Scored
from pawl_validator.evaluation.model import EvaluationModel
from pawl_validator.evaluation.report import EvaluationSpec, Report
from pawl_validator.onnx_export import export_base

BASE, GRAPH, DATASET = "b" * 64, "9" * 64, "da" * 32
Tensors = dict[str, NDArray[np.float32]]
PAIRS = 16


@dataclass(frozen=True)
class Bench:
    """Everything that an evaluation needs, on disk."""

    folder: Path
    spec: GraphSpec
    good: Path
    tensors: Tensors

    def write(self, name: str, tensors: Tensors, base: str = BASE) -> Path:
        """An adapter file."""
        path = self.folder / f"{name}.safetensors"
        write_tensors(path, tensors, rank=4, base=base)
        return path

    def judge(self, adapter: Path, *, parent: Path | None = None, dataset: str = "liked", version: str = "") -> Report:
        """The report of a whole evaluation."""
        job = self.folder / f"job-{adapter.stem}-{dataset}"
        shutil.rmtree(job, ignore_errors=True)
        job.mkdir()
        spec = EvaluationSpec(
            model="default/assistant",
            adapter=version or digest_of_file(adapter),
            adapter_file=adapter,
            base=BASE,
            base_dir=self.folder / "hf",
            graph=GRAPH,
            graph_dir=self.folder / "graph",
            champion=BASE,
            parent_file=parent,
            dataset=DATASET,
            dataset_dir=self.folder / dataset,
            gates=Gates(),
            probes=Probes(neutral_texts=80, prompts=96, answer_tokens=16, parity_prompts=8),
            threads=1,  # a model this small only waits for its other threads
        )
        (job / "spec.json").write_text(spec.model_dump_json())
        evaluate.work(job, Reporter(job))
        return Report.model_validate_json((job / evaluate.REPORT_FILE).read_text())


def make_bench(folder: Path) -> Bench:
    """A gentle random adapter, and two data sets: one whose pairs it likes, one of which it likes half."""
    write_random_tiny(folder / "hf")
    spec = export_base(folder / "hf", folder / "graph", base=BASE, precision="fp32", rank=4)
    tensors = random_tensors(spec, seed=1, rank=4, size=0.0002)
    good = folder / "good.safetensors"
    write_tensors(good, tensors, rank=4)
    bench = Bench(folder, spec, good, tensors)
    margins = _margins(bench)
    write_dataset(folder / "liked", [pair if margin > 0 else pair[::-1] for pair, margin in margins])
    mixed = [pair if (margin > 0) == (i % 2 > 0) else pair[::-1] for i, (pair, margin) in enumerate(margins)]
    write_dataset(folder / "random", mixed)
    return bench


def write_dataset(folder: Path, pairs: list[tuple[str, str]]) -> None:
    """A snapshot with held-out pairs (chosen, rejected), and one row of training that must not be looked at."""
    folder.mkdir()
    rows = [_row(index, "heldout", *pair) for index, pair in enumerate(pairs)]
    pq.write_table(pa.Table.from_pylist([*rows, _row(99, "train", "never", "scored")]), folder / "data.parquet")
    (folder / "manifest.json").write_text(json.dumps({"counts": {"pair/heldout": len(pairs)}}))


def collapsed(bench: Bench) -> Tensors:
    """Training gone wrong: it ends every answer at once."""
    model = EvaluationModel(bench.folder / "hf", threads=1)
    rows = [torch.tensor([model._prompt((("user", p.text),))]) for p in probes.load("prompts")[:8]]
    sizes = {m: bench.tensors[f"base_model.model.{m}.lora_A.weight"].shape[1] for m in _modules(bench)}
    torch.manual_seed(0)
    a = {m: (torch.randn(4, n) / n**0.5).requires_grad_() for m, n in sizes.items()}
    b = {m: torch.zeros(model._model.get_submodule(m).out_features, 4, requires_grad=True) for m in sizes}
    network = model._model.float()
    hooks = [
        network.get_submodule(m).register_forward_hook(lambda _m, x, y, m=m: y + (x[0] @ a[m].T) @ b[m].T * 8)
        for m in sizes
    ]
    optimiser = torch.optim.Adam([*a.values(), *b.values()], lr=0.03)
    for _ in range(15):
        optimiser.zero_grad()
        end = torch.tensor([model._tokenizer.eos_token_id])
        sum(torch.nn.functional.cross_entropy(network(row).logits[0, -1:], end) for row in rows).backward()
        optimiser.step()
    for hook in hooks:
        hook.remove()
    named: dict[str, Any] = {f"base_model.model.{m}.lora_A.weight": v for m, v in a.items()}
    named |= {f"base_model.model.{m}.lora_B.weight": v for m, v in b.items()}
    return {name: value.detach().numpy() for name, value in named.items()}


def write_raw(path: Path, tensors: Tensors) -> Path:
    """An adapter file that the writer would refuse."""
    metadata = {"format": "pawl.lora.v1", "base": BASE, "rank": "4", "alpha": "32", "rslora": "false", "run": "bad"}
    tensor_file.save(path, tensors, metadata)
    return path


def _modules(bench: Bench) -> list[str]:
    return lora_format.read_adapter(bench.good).modules()


def _margins(bench: Bench) -> list[tuple[tuple[str, str], float]]:
    """Pairs of texts, with how much more the good adapter likes the first than the base does."""
    texts = [probe.text for probe in probes.load("neutral_texts")[: 2 * PAIRS]]
    model = EvaluationModel(bench.folder / "hf", threads=1)
    scored = [Scored((("user", f"Question {i // 2}?"),), text, True) for i, text in enumerate(texts)]
    base = model.answer_scores(scored, lambda _done, _total: None)
    with model.wearing(lora_format.read_adapter(bench.good)):
        new = model.answer_scores(scored, lambda _done, _total: None)
    gains = [n - o for n, o in zip(new, base, strict=True)]
    return [((texts[i], texts[i + 1]), gains[i] - gains[i + 1]) for i in range(0, len(texts), 2)]


def _row(index: int, split: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {
        "kind": "pair",
        "messages": [{"role": "user", "content": f"Question {index}?"}],
        "completion": None,
        "chosen": chosen,
        "rejected": rejected,
        "label": None,
        "finished": True,
        "origin": "correction",
        "weight": 1.0,
        "split": split,
        "subject": f"user {index}",
        "session": f"session {index}",
        "inference_ids": [f"i{index}"],
        "feedback_ids": [f"f{index}"],
        "time": datetime(2026, 1, 1, tzinfo=UTC),
    }
