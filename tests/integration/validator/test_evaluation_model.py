"""The model that gates ask: its scores and answers are those of transformers, with and without an adapter."""

from pathlib import Path

import pytest
import torch
from benchmarks.support.tiny_model import write_random_tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

from pawl_shared.models.lora_format import TrainedAdapter
from pawl_validator.evaluation import model
from pawl_validator.evaluation.heldout import Scored
from pawl_validator.evaluation.model import EvaluationModel

QUESTIONS = (
    "What is a good soup?",
    "Why?",
    "Tell me about dogs and cats, and which of them is the best friend of a child.",
)


def quiet(_done: int, _total: int) -> None:
    """No bar."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_tiny(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> EvaluationModel:
    monkeypatch.setattr(model, "_cpu_computes_bf16", lambda: False)
    return EvaluationModel(folder, threads=1)


def prompt_ids(folder: Path, question: str) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = [{"role": "user", "content": question}]
    encoded = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    return encoded["input_ids"]


def test_a_batch_of_greedy_answers_equals_generate_one_by_one(folder: Path, asked: EvaluationModel) -> None:
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = []
    for question in QUESTIONS:
        ids = prompt_ids(folder, question)
        output = reference.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        expected.append(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip())
    found = asked.answers(QUESTIONS, 12, quiet)
    assert [answer.text for answer in found] == expected
    assert len(set(expected)) == len(expected)


def test_answers_that_end_leave_the_batch_and_the_others_go_on(folder: Path, asked: EvaluationModel) -> None:
    """The first token of one answer is made an end: that answer is then empty, and the others stay as they were."""
    before = asked.answers(QUESTIONS, 6, quiet)
    asked._ends.add(int(asked._model(prompt_ids(folder, QUESTIONS[0])).logits[0, -1].argmax()))
    after = asked.answers(QUESTIONS, 6, quiet)
    assert after[0].ended
    assert after[0].text == ""
    assert [answer.text for answer in after[1:] if not answer.ended] == [
        old.text for old, new in zip(before[1:], after[1:], strict=True) if not new.ended
    ]
    assert any(not answer.ended for answer in after)


def test_scores_are_sums_of_log_probabilities_of_the_answer_alone(folder: Path, asked: EvaluationModel) -> None:
    answers = ("Bread.", "A warm coat, a map and some water.", "Soup")
    scored = [Scored((("user", q),), a, ended=n == 1) for n, (q, a) in enumerate(zip(QUESTIONS, answers, strict=True))]
    found = asked.answer_scores(scored, quiet)
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for row, (question, answer) in enumerate(zip(QUESTIONS, answers, strict=True)):
        prompt = prompt_ids(folder, question)
        tail = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * (row == 1)
        ids = torch.cat([prompt, torch.tensor([tail])], dim=1)
        with torch.no_grad():
            logs = reference(ids).logits[0, :-1].log_softmax(-1)
        expected = logs[-len(tail) :].gather(-1, torch.tensor(tail)[:, None]).sum()
        assert found[row] == pytest.approx(float(expected), rel=1e-4)


def test_an_adapter_is_worn_only_as_long_as_asked(asked: EvaluationModel) -> None:
    """W + scale * B A, against the same added to the weights."""
    torch.manual_seed(0)
    name = "model.layers.1.mlp.down_proj"
    a, b = torch.randn(4, 128) / 10, torch.randn(64, 4) / 10
    tensors = {f"base_model.model.{name}.lora_A.weight": a.numpy(), f"base_model.model.{name}.lora_B.weight": b.numpy()}
    adapter = TrainedAdapter(base="b" * 64, rank=4, alpha=8, rslora=False, run="r", tensors=tensors)
    texts = ["The quick brown fox", "jumps over the lazy dog"]
    before, _ = asked.text_losses(texts, quiet)
    with asked.wearing(adapter):
        worn, counts = asked.text_losses(texts, quiet)
    assert asked.text_losses(texts, quiet)[0] == before
    with torch.no_grad():
        asked._model.get_submodule(name).weight.add_(2.0 * b @ a)
    assert asked.text_losses(texts, quiet)[0] == pytest.approx(worn, rel=1e-4)
    assert worn != pytest.approx(before, rel=1e-3)
    assert all(count > 0 for count in counts)
