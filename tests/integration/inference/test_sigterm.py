"""SIGTERM to the real process, with the real decoder, on a real broker, while answers are being streamed."""

import json
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import pytest
from benchmarks.support.tiny_model import write_random_tiny
from support.inference import World, eventually
from support.inference_process import deploy, inference_process, logged
from support.tiny_engine import BASE

from pawl_cli.running.ports import any_free
from pawl_inference.record.journal import Journal
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.codec import decode
from pawl_shared.events import DeployedVersion, ReplicaReported
from pawl_shared.topics import REPLICAS, TOPICS
from pawl_validator.onnx_export import export_base

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
STREAMS = 6


@dataclass
class Asked:
    """A client. `begun` gets something when a stream is open, with its first token."""

    url: str
    begun: Queue[int] = field(default_factory=Queue)

    def body(self, **more: Any) -> dict[str, Any]:
        return {"model": "assistant", "messages": [{"role": "user", "content": "Why?"}], "temperature": 0} | more

    def stream(self, number: int) -> tuple[str, str, str]:
        """The id, why it ended, and the last line."""
        body = self.body(stream=True, max_tokens=400, seed=number, temperature=1)
        with httpx.stream("POST", f"{self.url}/v1/chat/completions", json=body, timeout=60) as response:
            self.begun.put(number)
            lines = list(filter(None, response.iter_lines()))
        last = json.loads(lines[-2].removeprefix("data: "))
        return last["id"], last["choices"][0]["finish_reason"], lines[-1]

    def post(self) -> httpx.Response:
        """A request that the journal has nothing of: it is no JSON."""
        return httpx.post(f"{self.url}/v1/chat/completions", content=b"-")

    @contextmanager
    def slow(self) -> Iterator[socket.socket]:
        """A request whose body takes its time: so long the service has something to finish."""
        body = json.dumps(self.body(max_tokens=3)).encode()
        host, port = self.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            connection.sendall(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body[:9])
            yield connection
            connection.sendall(body[9:])
            connection.settimeout(60)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 200 "), answer


def tiny(folder: Path, world: World) -> DeployedVersion:
    export_base(write_random_tiny(folder / "hf"), folder / "tiny", base=BASE, precision="int8")
    return DeployedVersion(version=BASE, base=BASE, graph=world.store.put_folder(folder / "tiny"))


def test_open_streams_end_new_requests_are_refused_and_all_is_logged(broker: str, tmp_path: Path) -> None:
    world, bus, port = World(tmp_path), KafkaBus(broker), any_free()
    bus.create_topics(TOPICS)
    deploy(world, bus, tiny(tmp_path, world))
    asked = Asked(f"http://127.0.0.1:{port}")
    settings = {"PAWL_SHUTDOWN_GRACE_SECONDS": "60", "PAWL_ENGINE_MAX_BATCH": str(STREAMS), "PAWL_INSTANCE": "mine"}
    with inference_process(world, broker, port, **settings) as process, ThreadPoolExecutor(STREAMS) as threads:
        streams = [threads.submit(asked.stream, number) for number in range(STREAMS)]
        for _ in streams:
            asked.begun.get(timeout=60)
        with asked.slow():
            assert asked.post().status_code == 415  # behind it: once this one is answered, that one has been taken
            process.send_signal(signal.SIGTERM)
            refused = eventually(lambda: found if (found := asked.post()).status_code == 503 else None)
            assert process.poll() is None
        ended = [stream.result(60) for stream in streams]
        assert process.wait(60) == 0
    assert refused.json()["error"]["code"] == "shutting_down"
    assert int(refused.headers["retry-after"]) > 0
    assert {(reason in ("stop", "length"), last) for _, reason, last in ended} == {(True, "data: [DONE]")}
    events = logged(bus)
    assert len(events) == STREAMS + 1  # the slow one, too
    assert {key: events[key].finish_reason for key, _, _ in ended} == {key: reason for key, reason, _ in ended}
    journal = Journal(tmp_path / "data" / "inference" / "mine" / "journal", max_bytes=1 << 30)
    assert journal.backlog == 0
    journal.close()
    replicas = [decode(record) for record in bus.read(REPLICAS.name) if record is not None]
    assert [each for each in replicas if isinstance(each, ReplicaReported)][-1].stopped
