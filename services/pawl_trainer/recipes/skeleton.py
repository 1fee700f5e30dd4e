"""The one run that all recipes share: load, prepare, train, check, save."""

import errno
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from pawl_shared.errors import AdapterRejectedError
from pawl_shared.models.lora_format import read_adapter
from pawl_trainer.device import Device
from pawl_trainer.errors import (
    BaseUnusableError,
    DiskFullError,
    NotEnoughDataError,
    NothingLearntError,
    OutOfMemoryError,
)
from pawl_trainer.preprocessing.pipeline import Material
from pawl_trainer.progress import Phase, Report, Watch
from pawl_trainer.recipes.auto import steps_for
from pawl_trainer.recipes.examples import Example
from pawl_trainer.spec import RunSpec, TrainingSettings

# KTO pairs each answer with its neighbour in the micro-batch, so one alone would be its own partner.
SMALLEST_MICRO_BATCH = 2


@dataclass(frozen=True, slots=True)
class Parts:
    """What a recipe builds its trainer from: `arguments` of the TRL config, `inputs` of the TRL trainer."""

    tokenizer: Any
    settings: TrainingSettings
    arguments: dict[str, Any]
    inputs: dict[str, Any]
    reference_progress: Phase


class Recipe(Protocol):
    """What differs between recipes."""

    name: str

    def examples(self, material: Material, settings: TrainingSettings, rng: Random) -> list[Example]:
        """The examples to learn from, in the order in which they are laid out."""

    def trainer(self, parts: Parts) -> Any:
        """A transformers.Trainer that is ready to train."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of a run: LoRA tensors by their PEFT names, and how they came about."""

    tensors: dict[str, torch.Tensor]
    examples: list[Example]
    metrics: dict[str, float]
    facts: dict[str, Any]


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a base folder. Raises BaseUnusableError when it has no chat template."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise BaseUnusableError(f"the tokenizer of the base model cannot be loaded: {error}") from error
    if not tokenizer.chat_template:
        raise BaseUnusableError("the base model has no chat template")
    return tokenizer


def train(
    recipe: Recipe, spec: RunSpec, material: Material, tokenizer: Any, device: Device, work: Path, report: Report
) -> Trained:
    """Run `recipe` once, or twice with a smaller micro-batch when memory runs out.

    Raises a TrainerError that says what to do; see errors.py.
    """
    examples = recipe.examples(material, spec.settings, Random(spec.seed))  # noqa: S311 - seeded sampling
    if len(examples) < SMALLEST_MICRO_BATCH:
        raise NotEnoughDataError(f"{recipe.name} has {len(examples)} examples", "Wait for more feedback.")
    micro = spec.settings.batch_size
    with disk_checked():
        try:
            return _once(recipe, spec, examples, tokenizer, device, work, report, micro)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
        # outside of the except block, or the traceback would keep the first attempt's tensors alive
        gc.collect()
        smaller = max(SMALLEST_MICRO_BATCH, micro // 2)
        try:
            return _once(recipe, spec, examples, tokenizer, device, work, report, smaller)
        except (RuntimeError, MemoryError) as error:
            if _is_out_of_memory(error):
                raise OutOfMemoryError(f"out of memory, also with {smaller} examples at a time") from error
            raise


def _once(
    recipe: Recipe, spec: RunSpec, examples: list[Example], tokenizer: Any, device: Device, work: Path, report: Report,
    micro: int,
) -> Trained:  # fmt: skip
    set_seed(spec.seed)
    Phase(report, "load", 1)
    inputs = _model_inputs(spec, tokenizer, device)
    inputs["train_dataset"] = Dataset.from_list([example.columns for example in examples])
    steps = steps_for(len(examples), spec.settings)
    reference = Phase(report, "reference", -(-len(examples) // micro))
    arguments = _arguments(spec, device, work, micro, steps)
    trainer = recipe.trainer(Parts(tokenizer, spec.settings, arguments, inputs, reference))
    reference_seconds = reference.seconds
    before = _adapter(trainer.model)
    watch = Watch(Phase(report, "train", steps))
    trainer.add_callback(watch)
    trainer.train()
    after = _adapter(trainer.model)
    if all(torch.equal(before[name], tensor) for name, tensor in after.items()):
        raise NothingLearntError(f"{steps} steps left every weight as it was")
    facts = {
        "device": device.sentence,
        "examples": len(examples),
        "steps": steps,
        "epochs": round(steps / -(-len(examples) // spec.settings.batch_size), 2),
        "micro_batch": micro,
    }
    return Trained(after, examples, watch.summary() | {"reference_seconds": reference_seconds}, facts)


def _arguments(spec: RunSpec, device: Device, work: Path, micro: int, steps: int) -> dict[str, Any]:
    """Arguments that every TRL config takes. No warm-up: its first step would have rate zero, of some 12."""
    return {
        "output_dir": str(work / "trainer"),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": max(1, spec.settings.batch_size // micro),
        "max_steps": steps,
        "learning_rate": spec.settings.learning_rate,
        "warmup_steps": 0,
        "max_length": spec.settings.max_length,
        "seed": spec.seed,
        "use_cpu": device.name == "cpu",
        "bf16": device.bf16,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "report_to": [],
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # else transformers shows the last good loss instead of NaN
        "disable_tqdm": True,
    }


def _model_inputs(spec: RunSpec, tokenizer: Any, device: Device) -> dict[str, Any]:
    """The trainer's model: the base with a new adapter, or with the parent's (TRL then takes it as the reference).

    The frozen base is held in bf16 where we compute in it, since casting its weights anew in every pass took a quarter
    of the time; the adapter stays in fp32.
    """
    config = LoraConfig(
        r=spec.settings.rank, lora_alpha=spec.settings.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    dtype = torch.bfloat16 if device.bf16 else torch.float32
    try:
        model = AutoModelForCausalLM.from_pretrained(spec.base_dir, dtype=dtype)
    except (OSError, ValueError, SafetensorError) as error:
        raise BaseUnusableError(f"the base model cannot be loaded: {error}") from error
    if spec.parent_file is None:
        return {"model": model, "peft_config": config, "processing_class": tokenizer}
    try:
        parent = read_adapter(spec.parent_file, spec.base)
    except AdapterRejectedError as error:
        raise BaseUnusableError(f"cannot start from the parent: {error}", "Retrain from the base.") from error
    if (parent.rank, parent.alpha) != (config.r, config.lora_alpha):
        raise BaseUnusableError(
            f"the parent has rank {parent.rank} and alpha {parent.alpha:g}, this run {config.r} and "
            f"{config.lora_alpha}",
            "Set PAWL_RANK and PAWL_ALPHA to the parent's, or retrain from the base.",
        )
    model = get_peft_model(model, config)
    set_peft_model_state_dict(model, {name: torch.from_numpy(array) for name, array in parent.tensors.items()})
    return {"model": model, "processing_class": tokenizer}


def _adapter(model: Any) -> dict[str, torch.Tensor]:
    """A copy of the adapter's tensors in fp32, by their PEFT names."""
    tensors = get_peft_model_state_dict(model, adapter_name="default")
    return {name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in tensors.items()}


def _is_out_of_memory(error: Exception) -> bool:
    """torch raises its own error on CUDA, and a plain RuntimeError with this text on a CPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def disk_checked() -> Iterator[None]:
    """Turn "no space left on device", which each library raises in its own way, into DiskFullError."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if getattr(error, "errno", None) == errno.ENOSPC or "no space left" in str(error).lower():
            raise DiskFullError("the disk is full") from error
        raise
