"""One training run, as a child process: `python -m pawl_trainer.run JOB_DIR`.

Reads spec.json; writes progress.jsonl while it goes on, adapter.safetensors, trained_on.json and preprocessing.json,
and at last result.json, or error.json with a reason and what to do.
"""

import importlib.metadata
import json
import platform
import shutil
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import datasets
import torch

from pawl_shared.child import Reporter, run_child
from pawl_shared.models.lora_format import write_adapter
from pawl_shared.recipes import RecipeName
from pawl_trainer.device import detect
from pawl_trainer.errors import NotEnoughDataError
from pawl_trainer.preprocessing.pipeline import Material, prepare
from pawl_trainer.preprocessing.report import QualityReport
from pawl_trainer.preprocessing.rows import Row
from pawl_trainer.preprocessing.snapshot import read_snapshot
from pawl_trainer.progress import Phase
from pawl_trainer.recipes.auto import Choice, Counts, decide
from pawl_trainer.recipes.dpo import Dpo
from pawl_trainer.recipes.kto import Kto
from pawl_trainer.recipes.sft import Sft
from pawl_trainer.recipes.skeleton import Recipe, Trained, disk_checked, load_tokenizer, train
from pawl_trainer.spec import RunSpec

RECIPES: dict[RecipeName, Recipe] = {"kto": Kto(), "dpo": Dpo(), "sft": Sft()}
LIBRARIES = ("torch", "transformers", "peft", "trl", "accelerate", "datasets", "safetensors")


def work(job_dir: Path, report: Reporter) -> dict[str, Any]:
    """The whole run; answers what goes into result.json."""
    began = time.monotonic()
    spec = RunSpec.model_validate_json((job_dir / "spec.json").read_text(encoding="utf-8"))
    _stay_in(job_dir / "work", spec.settings.threads)
    Phase(report, "prepare", 1)
    tokenizer = load_tokenizer(spec.base_dir)
    material, quality, choice = _material(spec, tokenizer, job_dir)
    if choice.recipe is None:
        raise NotEnoughDataError(choice.reason, choice.missing)
    device = detect(spec.settings.precision)
    trained = train(RECIPES[choice.recipe], spec, material, tokenizer, device, job_dir / "work", report)
    Phase(report, "save", 1)
    with disk_checked():
        tensors = {name: tensor.numpy() for name, tensor in trained.tensors.items()}
        rank, alpha = spec.settings.rank, spec.settings.alpha
        path = job_dir / "adapter.safetensors"
        write_adapter(path, tensors, base=spec.base, rank=rank, alpha=alpha, rslora=False, run=spec.run)
        _write(job_dir / "trained_on.json", _lineage(spec, choice, trained) | {"preprocessing": quality.as_dict()})
    shutil.rmtree(job_dir / "work", ignore_errors=True)
    return {
        "adapter": "adapter.safetensors",
        "trained_on": "trained_on.json",
        "recipe": choice.recipe,
        "reasons": [choice.reason, *quality.warnings],
        "metrics": trained.metrics,
        "settings": spec.settings.model_dump() | trained.facts,
        "seed": spec.seed,
        "libraries": _libraries(),
        "preprocessing": quality.as_dict(),
        "seconds": time.monotonic() - began,
    }


def _material(spec: RunSpec, tokenizer: Any, job_dir: Path) -> tuple[Material, QualityReport, Choice]:
    rows, _ = read_snapshot(spec.dataset_dir)

    def length(row: Row) -> int:
        turns = [{"role": message.role, "content": message.content} for message in row.messages]
        answers = [[*turns, {"role": "assistant", "content": text}] for text in row.texts]
        return max(len(tokenizer.apply_chat_template(answer, return_dict=True)["input_ids"]) for answer in answers)

    rng = Random(spec.seed)  # noqa: S311 - seeded sampling
    material, quality = prepare(rows, length=length, max_length=spec.settings.max_length, rng=rng)
    _write(job_dir / "preprocessing.json", quality.as_dict())
    return material, quality, decide(Counts.of(material), spec.recipe, spec.settings)


def _stay_in(folder: Path, threads: int) -> None:
    """Keep the temporary files of all libraries in the job's folder, so that a killed run leaves nothing elsewhere."""
    folder.mkdir(exist_ok=True)
    tempfile.tempdir = str(folder)
    datasets.disable_progress_bars()
    if threads:
        torch.set_num_threads(threads)


def _lineage(spec: RunSpec, choice: Choice, trained: Trained) -> dict[str, Any]:
    rows = [example.row for example in trained.examples]
    return {
        "run": spec.run,
        "model": spec.model,
        "dataset": spec.dataset,
        "recipe": choice.recipe,
        "rows": len(rows),
        "feedback_ids": sorted({i for row in rows for i in row.feedback_ids}),
        "inference_ids": sorted({i for row in rows for i in row.inference_ids}),
    }


def _libraries() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in LIBRARIES} | {"python": platform.python_version()}


def _write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2), encoding="utf-8")


if __name__ == "__main__":
    run_child(work)
