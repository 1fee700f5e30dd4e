"""What the serving process may hold, and the generated description of its API."""

import json
import subprocess
import sys
from pathlib import Path

from pawl_inference import openapi

HEAVY = {"torch", "transformers", "peft", "trl", "duckdb", "faust", "pyarrow"}


def test_the_serving_process_has_no_training_library() -> None:
    script = "import sys, json, pawl_inference.app, pawl_inference.__main__; print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
    )
    loaded = {name.partition(".")[0] for name in json.loads(found.stdout)}
    assert "onnxruntime" in loaded
    assert not loaded & HEAVY


def test_the_committed_description_is_what_the_code_says() -> None:
    committed = Path(__file__).parents[2] / "docs" / "openapi.json"
    assert committed.read_text(encoding="utf-8") == openapi.document(), "run `python -m pawl_inference.openapi`"


def test_every_error_has_a_documented_shape() -> None:
    document = json.loads(openapi.document())
    post = document["paths"]["/v1/chat/completions"]["post"]
    assert set(post["responses"]) >= {"200", "400", "401", "404", "413", "415", "429", "503"}
    assert set(document["components"]["schemas"]["ErrorBody"]["required"]) == {"message", "type", "param", "code"}
    assert "422" not in post["responses"]
