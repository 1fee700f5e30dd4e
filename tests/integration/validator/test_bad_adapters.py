"""Seeded bad adapters on a tiny model: each is stopped by the gate that is there for it, and a good one passes all."""

from collections.abc import Iterator

import numpy as np
import pytest
from support.candidates import Bench, collapsed, make_bench, write_raw

from pawl_validator.domain.gates import NAMES
from pawl_validator.evaluation import model
from pawl_validator.evaluation.report import Report


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        # The adapter is so gentle that the rounding of bfloat16 would hide it.
        patch.setattr(model, "_cpu_computes_bf16", lambda: False)
        yield make_bench(tmp_path_factory.mktemp("bench"))


def sentence(report: Report, name: str) -> str:
    return next(gate.sentence for gate in report.gates if gate.name == name)


def test_a_good_adapter_passes_every_gate(bench: Bench) -> None:
    report = bench.judge(bench.good)
    assert report.passed, [gate.sentence for gate in report.gates if not gate.passed]
    assert [gate.name for gate in report.gates] == list(NAMES)
    assert (bench.folder / "job-good-liked" / "slots.safetensors").exists()
    assert len(report.examples) == 6
    learned = next(gate for gate in report.gates if gate.name == "learned")
    assert learned.numbers["pairs"] == 16  # the row of training was not looked at


def test_random_labels_fail_learned_and_nothing_else(bench: Bench) -> None:
    assert bench.judge(bench.good, dataset="random").failed == ("learned",)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("untrained", "changes nothing"),
        ("parent", "identical to the parent"),
        ("nan", "not_finite"),
        ("wrong base", "wrong_base"),
        ("truncated", "unreadable"),
        ("other file", "has digest"),
        ("wrong shape", "the base has"),
    ],
)
def test_integrity_stops_what_is_not_a_trained_adapter_of_this_base(bench: Bench, kind: str, words: str) -> None:
    path = bench.folder / f"{kind}.safetensors"
    parent, version = None, ""
    if kind == "untrained":
        bench.write(kind, {n: np.zeros_like(t) if "lora_B" in n else t for n, t in bench.tensors.items()})
    elif kind == "parent":
        path = parent = bench.good
    elif kind == "nan":
        write_raw(path, {n: np.full_like(t, np.nan) if "0.mlp" in n else t for n, t in bench.tensors.items()})
    elif kind == "wrong base":
        bench.write(kind, bench.tensors, base="e" * 64)
    elif kind == "truncated":
        path.write_bytes(bench.good.read_bytes()[:-1000])
    elif kind == "other file":
        path, version = bench.good, "0" * 64
    else:
        bench.write(kind, {n: t[:, 1:] if "q_proj.lora_A" in n else t for n, t in bench.tensors.items()})
    report = bench.judge(path, parent=parent, version=version)
    assert report.failed[0] == "integrity"
    assert words in sentence(report, "integrity")
    if kind not in ("untrained", "parent"):  # what cannot be used cannot be measured, and must not be packed
        assert report.failed == NAMES
        assert "not measured" in sentence(report, "retention")
        assert not (bench.folder / f"job-{path.stem}-liked" / "slots.safetensors").exists()


def test_retention_stops_an_adapter_of_a_thousand_times_the_scale(bench: Bench) -> None:
    loud = {name: tensor * 1000 if "lora_B" in name else tensor for name, tensor in bench.tensors.items()}
    report = bench.judge(bench.write("loud", loud))
    assert "retention" in report.failed
    assert "integrity" not in report.failed


def test_degeneration_stops_an_adapter_that_ends_every_answer_at_once(bench: Bench) -> None:
    report = bench.judge(bench.write("collapsed", collapsed(bench)))
    assert "degeneration" in report.failed
    assert "short" in sentence(report, "degeneration")


def test_a_gate_that_breaks_fails_and_the_others_still_run(bench: Bench) -> None:
    (bench.folder / "empty").mkdir(exist_ok=True)
    report = bench.judge(bench.good, dataset="empty")
    assert report.failed == ("learned",)
    assert "not measured" in sentence(report, "learned")
