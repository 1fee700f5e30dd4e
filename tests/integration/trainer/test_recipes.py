"""Each recipe on a tiny random model, through the very function that the child process runs."""

import errno
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.support.tiny_model import write_random_tiny
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from support.training import BASE, correction, job, thumb
from transformers import AutoModelForCausalLM
from trl.trainer.utils import add_fused_lm_head

from pawl_shared.child import Progress, Reporter
from pawl_shared.models.lora_format import read_adapter
from pawl_shared.recipes import RecipeChoice
from pawl_trainer import run
from pawl_trainer.device import Device, choose
from pawl_trainer.errors import (
    BaseUnusableError,
    DiskFullError,
    DivergedError,
    NotEnoughDataError,
    NothingLearntError,
    OutOfMemoryError,
)
from pawl_trainer.preprocessing.rows import Row
from pawl_trainer.recipes import skeleton
from pawl_trainer.recipes.answer_logits import score_answers_alone
from pawl_trainer.recipes.cut_answers import closing_ids, neighbours, without_end
from pawl_trainer.recipes.dpo import Dpo
from pawl_trainer.recipes.kto import Kto

FP32 = Device("cpu", bf16=False)
CORRECTIONS = [correction(n) for n in range(12)]
THUMBS = [thumb(n, liked=n % 2 == 0, finished=n % 2 == 0) for n in range(12)]
Runs = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_tiny(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def run_job(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Runs a job in this process (a child would spend ten seconds on imports alone) and answers its result."""
    monkeypatch.setattr(tempfile, "tempdir", None)  # the run sets it; put it back afterwards

    def work(rows: list[Row], recipe: RecipeChoice = "auto", name: str = "job", **settings: Any) -> dict[str, Any]:
        job(tmp_path / name, settings.pop("base_dir", base), rows, recipe, precision="fp32", **settings)
        return run.work(tmp_path / name, Reporter(tmp_path / name))

    return work


def progress(folder: Path) -> list[Progress]:
    return [Progress.model_validate_json(line) for line in (folder / "progress.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("rows", "recipe", "chosen", "reports_margin"),
    [(CORRECTIONS, "auto", "dpo", True), (THUMBS, "kto", "kto", True), (THUMBS, "sft", "sft", False)],
)
def test_a_recipe_makes_an_adapter_and_says_how(
    rows: list[Row], recipe: RecipeChoice, chosen: str, reports_margin: bool, run_job: Runs, tmp_path: Path
) -> None:
    result = run_job(rows, recipe)
    adapter = read_adapter(tmp_path / "job" / "adapter.safetensors", BASE)
    assert result["recipe"] == chosen
    assert (adapter.rank, adapter.alpha, adapter.run) == (16, 32.0, "run-1")
    assert any(tensor.any() for name, tensor in adapter.tensors.items() if "lora_B" in name)
    lines = progress(tmp_path / "job")
    assert [line.fraction for line in lines] == sorted(line.fraction for line in lines)
    steps = [line for line in lines if line.phase == "train" and line.step]
    assert [(line.step, line.total) for line in steps] == [(1, 3), (2, 3), (3, 3)]
    assert all({"loss", "tokens_per_second", "peak_memory_bytes"} <= line.metrics.keys() for line in steps)
    assert ("reward_margin" in steps[-1].metrics) is reports_margin
    lineage = json.loads((tmp_path / "job" / "trained_on.json").read_text())
    used = {row.feedback_ids[0] for row in rows if chosen != "sft" or row.label}
    assert set(lineage["feedback_ids"]) == used
    assert result["libraries"].keys() >= {"torch", "transformers", "peft", "trl"}
    assert not (tmp_path / "job" / "work").exists()


def test_the_saved_adapter_gives_the_logits_of_the_trained_model(base: Path, run_job: Runs, tmp_path: Path) -> None:
    trained: list[Any] = []

    class Kept(Dpo):
        def trainer(self, parts: skeleton.Parts) -> Any:
            trained.append(super().trainer(parts))
            return trained[-1]

    spec = job(tmp_path / "kept", base, CORRECTIONS)
    tokenizer = skeleton.load_tokenizer(base)
    material, _, _ = run._material(spec, tokenizer, tmp_path / "kept")
    outcome = skeleton.train(Kept(), spec, material, tokenizer, FP32, tmp_path / "kept", lambda _: None)
    fresh = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = torch.tensor([[5, 9, 40, 7, 33]])
    with torch.no_grad():
        untouched = fresh(ids).logits
        config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        fresh = get_peft_model(fresh, config)
        set_peft_model_state_dict(fresh, outcome.tensors)
        loaded, expected = fresh.eval()(ids).logits, trained[0].model.eval()(ids).logits
    torch.testing.assert_close(loaded, expected)
    assert (loaded - untouched).abs().max() > 1e-4


@pytest.mark.parametrize("items", [None, 7])
def test_scoring_answers_alone_changes_no_number_and_no_gradient(base: Path, items: int | None) -> None:
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    torch.manual_seed(0)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    add_fused_lm_head(model.get_base_model(), outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    ids = torch.randint(3, 300, (3, 12))
    labels = ids.masked_fill(torch.arange(12).lt(torch.tensor([[3], [5], [9]])), -100)

    def both() -> tuple[Any, dict[str, torch.Tensor]]:
        model.zero_grad()
        output = model(input_ids=ids, labels=labels, fused_lm_head=True, num_items_in_batch=items)
        (output.loss + output.log_probs.square().sum()).backward()
        return output, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    theirs, their_gradients = both()
    score_answers_alone(model)
    ours, our_gradients = both()
    for name in ("loss", "log_probs", "entropy", "mean_logits", "is_top1", "label_mask"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), msg=name)
    torch.testing.assert_close(our_gradients, their_gradients, rtol=1e-3, atol=1e-3)


def test_the_same_seed_gives_the_same_file_and_a_parent_is_the_start(run_job: Runs, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run_job(CORRECTIONS, "dpo", name)
    first, second = ((tmp_path / name / "adapter.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second
    parent = read_adapter(tmp_path / "one" / "adapter.safetensors")
    spec = job(tmp_path / "child", tmp_path, CORRECTIONS).model_copy(
        update={"parent_file": tmp_path / "one" / "adapter.safetensors"}
    )
    spec = spec.model_copy(
        update={"base_dir": Path(json.loads((tmp_path / "one" / "spec.json").read_text())["base_dir"])}
    )
    model = skeleton._model_inputs(spec, None, FP32)["model"]
    tensors = skeleton._adapter(model)
    assert all((tensors[name].numpy() == array).all() for name, array in parent.tensors.items())
    (tmp_path / "child" / "spec.json").write_text(spec.model_dump_json())
    run.work(tmp_path / "child", Reporter(tmp_path / "child"))
    assert (tmp_path / "child" / "adapter.safetensors").read_bytes() != first


def test_too_little_data_ends_with_what_is_missing(run_job: Runs) -> None:
    with pytest.raises(NotEnoughDataError, match=r"Wait for 10 more corrections"):
        run_job(CORRECTIONS[:2])
    with pytest.raises(NotEnoughDataError, match="kto cannot learn from"):
        run_job([thumb(n) for n in range(40)], "kto", name="one-sided")


def test_a_loss_that_is_no_number_ends_the_run(base: Path, run_job: Runs, tmp_path: Path) -> None:
    broken = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    for file in base.iterdir():
        (tmp_path / "broken").mkdir(exist_ok=True)
        (tmp_path / "broken" / file.name).write_bytes(file.read_bytes())
    broken.save_pretrained(tmp_path / "broken")
    with pytest.raises(DivergedError, match=r"at step 1.*Lower PAWL_LEARNING_RATE"):
        run_job(THUMBS, "sft", base_dir=tmp_path / "broken")


def test_weights_that_did_not_move_are_a_failure(run_job: Runs) -> None:
    with pytest.raises(NothingLearntError, match="Raise PAWL_LEARNING_RATE"):
        run_job(THUMBS, "sft", learning_rate=1e-60)


def test_a_base_that_cannot_be_trained_is_named(run_job: Runs, base: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BaseUnusableError, match="tokenizer"):
        run_job(THUMBS, "sft", base_dir=tmp_path / "empty")
    (tmp_path / "halved").mkdir()
    for file in base.iterdir():
        content = file.read_bytes()
        (tmp_path / "halved" / file.name).write_bytes(content[: len(content) // 2] if "model" in file.name else content)
    with pytest.raises(BaseUnusableError, match="cannot be loaded"):
        run_job(THUMBS, "sft", name="again", base_dir=tmp_path / "halved")


def test_out_of_memory_is_tried_once_more_with_a_smaller_batch(base: Path, tmp_path: Path) -> None:
    class Hungry(Kto):
        def __init__(self, limit: int) -> None:
            self.limit, self.tried = limit, list[tuple[int, int]]()

        def trainer(self, parts: skeleton.Parts) -> Any:
            micro = parts.arguments["per_device_train_batch_size"]
            self.tried.append((micro, parts.arguments["gradient_accumulation_steps"]))
            if micro > self.limit:
                raise RuntimeError(
                    "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 TB"
                )
            return super().trainer(parts)

    spec = job(tmp_path / "job", base, THUMBS, "kto")
    tokenizer = skeleton.load_tokenizer(base)
    material, _, _ = run._material(spec, tokenizer, tmp_path / "job")
    enough, never = Hungry(2), Hungry(0)
    outcome = skeleton.train(enough, spec, material, tokenizer, FP32, tmp_path, lambda _: None)
    assert (enough.tried, outcome.facts["micro_batch"]) == ([(4, 1), (2, 2)], 2)
    with pytest.raises(OutOfMemoryError, match="PAWL_MAX_LENGTH"):
        skeleton.train(never, spec, material, tokenizer, FP32, tmp_path, lambda _: None)


def test_a_full_disk_is_called_by_its_name() -> None:
    with pytest.raises(DiskFullError, match="Free some space"), skeleton.disk_checked():
        Path("/dev/full").write_text("anything")
    with pytest.raises(OSError, match="denied"), skeleton.disk_checked():
        raise OSError(errno.EACCES, "denied")


def test_the_end_of_a_cut_answer_is_taken_off_and_no_other(base: Path) -> None:
    tokenizer = skeleton.load_tokenizer(base)
    closing = closing_ids(tokenizer)
    assert tokenizer.decode(closing) == "<|im_end|>\n"
    assert without_end([4, 5, *closing], closing) == [4, 5]
    assert without_end([4, 5], closing) == [4, 5]
    assert without_end(closing, closing) == closing
    assert neighbours([[1], [2], [3]]) == [[3], [1], [2]]


def test_disliked_cut_answers_reach_the_trainer_open_and_whole_ones_closed(base: Path, tmp_path: Path) -> None:
    seen: list[Any] = []

    class Look(Kto):
        def trainer(self, parts: skeleton.Parts) -> Any:
            seen.append(super().trainer(parts))
            return seen[-1]

    spec = job(tmp_path / "job", base, THUMBS, "kto")
    tokenizer = skeleton.load_tokenizer(base)
    material, _, _ = run._material(spec, tokenizer, tmp_path / "job")
    skeleton.train(Look(), spec, material, tokenizer, FP32, tmp_path, lambda _: None)
    rows, closing = list(seen[0].train_dataset), closing_ids(tokenizer)
    assert {row["label"] for row in rows} == {True, False}
    for row in rows:
        assert (row["completion_ids"][-len(closing) :] == closing) is row["label"]
    assert rows[1]["KL_completion_ids"] == rows[0]["completion_ids"]


@pytest.mark.parametrize(
    ("cuda", "cpu", "precision", "expected"),
    [
        (False, {"avx512_bf16": True}, "auto", Device("cpu", True)),
        (False, {"avx512_bf16": False, "avx2": True}, "auto", Device("cpu", False)),
        (False, {"avx512_bf16": True}, "fp32", Device("cpu", False)),
        (True, {}, "auto", Device("cuda", True)),
        (True, {}, "fp32", Device("cuda", False)),
    ],
)
def test_device(cuda: bool, cpu: dict[str, object], precision: Any, expected: Device) -> None:
    assert choose(precision, cuda=cuda, cuda_bf16=True, cpu=cpu) == expected
