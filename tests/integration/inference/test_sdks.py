"""Clients that apps use, unchanged, against the real HTTP server, the real decoder and a tiny real model.

They live in an environment of their own (tests/sdks, made by `make sdks`); each program there prints what it saw.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.inference import eventually
from support.live_inference import Live, live_inference
from support.tiny_engine import BASE

from pawl_shared.topics import INFERENCES

SDKS = Path(__file__).parents[2] / "sdks"
BIN = SDKS / ".venv" / "bin"
QUESTION = "What is a good way to learn to cook?"

pytestmark = pytest.mark.skipif(
    not (SDKS / ".installed").exists() and os.environ.get("CI") != "true",
    reason="the clients are not installed: run `make sdks`",
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_inference(tmp_path_factory.mktemp("sdks"), "infer") as found:
        yield found


@pytest.fixture(scope="module")
def expected(live: Live) -> str:
    """What the same question gets by the Python SDK."""
    found = live.client.chat.completions.create(
        model="assistant", messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=8
    )
    return found.choices[0].message.content or ""


def run(live: Live, *command: str | Path, **more: str) -> str:
    environment = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(live.world.folder),
        "PAWL_URL": live.url,
        "PAWL_KEY": live.key,
        "QUESTION": QUESTION,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the internet for prices
        "NO_PROXY": "127.0.0.1",
        **more,
    }
    done = subprocess.run(command, cwd=SDKS, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def seen(live: Live, *command: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(live, *command).splitlines()[-1])
    return found


def agrees(found: dict[str, Any], expected: str) -> None:
    assert found["plain"] == found["streamed"] == expected
    assert 0 < found["tokens"] == found["streamed_tokens"] <= 8
    assert found["version"] == BASE


def test_openai_for_javascript(live: Live, expected: str) -> None:
    found = seen(live, BIN / "node", "chat_openai.mjs")
    agrees(found, expected)
    assert found["models"] == [model.id for model in live.client.models.list()]
    assert found["token"]
    assert found["missing"] == {"kind": "NotFoundError", "code": "model_not_found", "param": "model"}
    assert found["wrong"] == {"kind": "BadRequestError", "code": "invalid_value", "param": "temperature"}
    assert found["stranger"] == "AuthenticationError"
    assert (found["choices"], found["likeliest"]) == ([0, 1], 2)
    assert found["bound"] == ["mood", "sure"]
    assert found["completed"]


def test_langchain(live: Live, expected: str) -> None:
    found = seen(live, BIN / "python", "chat_langchain.py")
    agrees(found, expected)
    assert found["batch"] == [expected, expected]
    assert found["missing"] == "model_not_found"
    assert found["bound"]["mood"] in ("calm", "loud")
    assert found["logprobs"] == found["tokens"]


def test_litellm(live: Live, expected: str) -> None:
    found = seen(live, BIN / "python", "chat_litellm.py")
    agrees(found, expected)
    assert (found["missing"], found["wrong"]) == ("NotFoundError", "BadRequestError")
    assert found["stranger"] == "AuthenticationError"
    assert found["completed"]


def test_the_llm_command(live: Live, expected: str, tmp_path: Path) -> None:
    models = f"- model_id: pawl\n  model_name: assistant\n  api_base: {live.url}/v1\n  api_key_name: pawl\n"
    (tmp_path / "extra-openai-models.yaml").write_text(models)
    (tmp_path / "keys.json").write_text(json.dumps({"pawl": live.key}))
    asked = ("-m", "pawl", "-o", "temperature", "0", "-o", "max_tokens", "8", QUESTION)
    for streaming in ((), ("--no-stream",)):
        assert run(live, BIN / "llm", *asked, *streaming, LLM_USER_PATH=str(tmp_path)).rstrip("\n") == expected.rstrip()
    logged = eventually(lambda: [each for each in live.world.read(INFERENCES) if each.messages[-1].content == QUESTION])
    assert {each.finish_reason for each in logged} <= {"stop", "length"}
