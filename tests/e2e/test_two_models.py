"""Two models on one stack, as processes: both answer, feedback on one is not the other's, also after a restart."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from benchmarks.support.tiny_model import write_random_tiny
from support.whole_stack import until
from typer.testing import CliRunner

from pawl_cli.__main__ import app
from pawl_cli.running.stack import Options, Stack, Wanted, running
from pawl_shared.policies.model_policy import ModelPolicy

pytestmark = [
    pytest.mark.kafka, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(600),
    pytest.mark.skipif(not os.environ.get("PAWL_LONG_TESTS"), reason="two starts of a whole Pawl: PAWL_LONG_TESTS=1"),
]  # fmt: skip
ENVIRONMENT = {"PAWL_SESSION_GAP_SECONDS": "1", "PAWL_TICK_SECONDS": "0.5"}
ONE, OTHER = "default/assistant", "acme/shop"
POLICY = ModelPolicy.model_validate({"model": OTHER, "canary": {"approval": "both"}})


def ask(stack: Stack, model: str) -> Any:
    client = openai.OpenAI(base_url=f"{stack.urls['inference']}/v1", api_key="none", max_retries=5)
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Why is the sky blue?"}], max_tokens=8, user="ada",
        metadata={"session_id": "the same for both"} | {"request": uuid.uuid4().hex},
    )  # fmt: skip


def counts(stack: Stack, model: str) -> tuple[int, int, int]:
    response = httpx.get(f"{stack.urls['monitor']}/api/counts", params={"model": model}, timeout=30)
    found = response.json() if response.status_code == 200 else {"answers": 0, "feedback": 0, "rated": 0}
    return found["answers"], found["feedback"], found["rated"]


def test_both_are_served_and_held_apart_over_a_restart(tmp_path: Path) -> None:
    base = write_random_tiny(tmp_path / "tiny")
    models = (Wanted(ONE), Wanted(OTHER, POLICY))
    options = Options(data=tmp_path / "data", models=models, base=str(base), environment=ENVIRONMENT)
    with running(options, lambda *_: None) as stack:
        ask(stack, ONE)
        answer = ask(stack, OTHER)
        feedback = {"inference_id": answer.id, "token": answer.metadata["feedback_token"], "thumb": "up"}
        response = httpx.post(f"{stack.urls['inference']}/v1/feedback", json=feedback, timeout=30)
        assert response.status_code == 202, response.text
        until(lambda: counts(stack, OTHER) == (1, 1, 1), f"the vote did not arrive: {counts(stack, OTHER)}")
        assert counts(stack, ONE) == (1, 0, 0)
        page = httpx.get(stack.urls["monitor"], params={"model": OTHER}, timeout=30).text
        assert all(f">{name}</option>" in page for name in (ONE, OTHER)), "the console lets one choose"
    with running(options, lambda *_: None) as stack:
        for model in (ONE, OTHER):
            assert ask(stack, model).model
        until(lambda: counts(stack, OTHER)[0] == 2, "an answer after the restart did not arrive")
        until(lambda: counts(stack, ONE)[:2] == (2, 0), "an answer after the restart did not arrive")
        result = CliRunner().invoke(app, ["status", "--json", "--data", str(options.data)])
        assert result.exit_code == 0, result.output
        found = {each["model"]: each for each in json.loads(result.stdout)}
        assert sorted(found) == [OTHER, ONE]
        assert found[OTHER]["policy"]["digest"] == POLICY.digest
        assert {each["deployment"]["revision"] for each in found.values()} == {1}, "nothing was registered again"
