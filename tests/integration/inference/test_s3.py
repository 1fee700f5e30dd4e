"""The serving process takes its model from S3: nothing but the URL and the usual AWS_* variables says so."""

from pathlib import Path

import httpx
import pytest
from benchmarks.support.tiny_model import write_random_tiny
from support.inference import World
from support.inference_process import deploy, inference_process
from support.s3_server import needs_s3, s3_server
from support.tiny_engine import BASE

from pawl_cli.running.ports import any_free
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.events import DeployedVersion
from pawl_shared.topics import TOPICS
from pawl_validator.onnx_export import export_base


@needs_s3
@pytest.mark.kafka
@pytest.mark.slow
def test_a_model_is_served_out_of_s3(broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, bus, port = World(tmp_path), KafkaBus(broker), any_free()
    export_base(write_random_tiny(tmp_path / "hf"), tmp_path / "tiny", base=BASE, precision="int8")
    with s3_server(tmp_path) as s3:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        url = f"s3://{s3.bucket()}/pawl"
        graph = ArtifactStore(url, tmp_path / "validator").put_folder(tmp_path / "tiny")
        bus.create_topics(TOPICS)
        deploy(world, bus, DeployedVersion(version=BASE, base=BASE, graph=graph))
        with inference_process(world, broker, port, **s3.environment, PAWL_ARTIFACT_URL=url):
            body = {"model": "assistant", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 4}
            answer = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] > 0
