"""The precision of serving graphs: who chooses it, and what a base's card says of it."""

import json
from pathlib import Path

import pytest
from support.tiny_engine import toy_spec

from pawl_validator import base_card
from pawl_validator.onnx_parity import Parity
from pawl_validator.settings import ValidatorSettings


@pytest.mark.parametrize(
    ("provider", "wanted", "chosen"),
    [("cpu", "auto", "int8"), ("cuda", "auto", "fp16"), ("cuda", "int8", "int8"), ("cpu", "fp32", "fp32")],
)
def test_the_precision_suits_the_provider_unless_it_is_said(
    monkeypatch: pytest.MonkeyPatch, provider: str, wanted: str, chosen: str
) -> None:
    monkeypatch.setenv("PAWL_ENGINE_PROVIDER", provider)
    monkeypatch.setenv("PAWL_GRAPH_PRECISION", wanted)
    assert ValidatorSettings().precision == chosen


def test_the_card_has_the_numbers_that_were_measured(tmp_path: Path) -> None:
    spec = toy_spec().model_copy(update={"precision": "int8"})
    fidelity = base_card.numbers(Parity(positions=1300, kl=0.0123, top1=0.951, max_difference=1.5, kl_max=0.6))
    base_card.write_card(tmp_path, spec, "d" * 64, 170_000_000, "apache-2.0", fidelity)
    text = (tmp_path / "README.md").read_text()
    for said in ("int8, 170 MB", "on 1300\npositions", "0.012 nats | 0.6 nats | 95.1 %", "license: apache-2.0"):
        assert said in text
    data = json.loads((tmp_path / "card.json").read_text())
    assert data["fidelity"] == {"kl_mean": 0.0123, "kl_max": 0.6, "top1": 0.951, "positions": 1300.0}


def test_fidelity_is_measured_on_the_same_texts_each_time() -> None:
    texts = base_card.texts()
    assert texts == base_card.texts()
    assert len(texts) == len(set(texts)) == 2 * base_card.TEXTS_OF_EACH
