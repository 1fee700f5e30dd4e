"""The end of a replica: nothing new is taken, what has begun is finished or cut, and all of it is logged."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.inference import World, eventually

from pawl_cli.running import ports
from pawl_inference.server import InferenceService
from pawl_shared.topics import INFERENCES, REPLICAS


class Running:
    """A service in a thread, with its real web server."""

    def __init__(self, folder: Path, grace: int) -> None:
        self.world = World(folder)
        self.world.deploy(1)
        port = ports.choose(folder / "ports.json", {"inference": 0})["inference"]
        self.url = f"http://{ports.HOST}:{port}"
        self.service: InferenceService = self.world.build(http_port=port, shutdown_grace_seconds=grace)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.service.run, args=(self.stop,))
        self.thread.start()
        eventually(lambda: self.service.health.ready)
        self.world.engine.gate = asyncio.Event()

    def ask(self) -> dict[str, Any]:
        return {"model": "assistant", "messages": [{"role": "user", "content": "Hello"}]}

    def stream(self) -> Iterator[str]:
        """The lines of a streamed answer; the first word is there when the first line is."""
        with httpx.stream("POST", f"{self.url}/v1/chat/completions", json=self.ask() | {"stream": True}) as response:
            yield from (line for line in response.iter_lines() if line)

    def ended(self) -> Any:
        """What was logged, once the service is over."""
        self.thread.join(30)
        assert not self.thread.is_alive()
        assert self.world.read(REPLICAS)[-1].stopped
        return self.world.read(INFERENCES)


def ending(lines: list[str]) -> tuple[str, str]:
    """A stream's last line, and its finish_reason."""
    reasons = [json.loads(line.removeprefix("data: "))["choices"][0]["finish_reason"] for line in lines[:-1]]
    return lines[-1], str(reasons[-1])


def test_what_has_begun_is_finished_and_nothing_else_is_taken(tmp_path: Path) -> None:
    running = Running(tmp_path, grace=30)
    lines = running.stream()
    begun = [next(lines), next(lines)]
    running.stop.set()
    refused = eventually(lambda: found if (found := _refused(running)).status_code == 503 else None)
    assert refused.json()["error"]["code"] == "shutting_down"
    assert "retry-after" in refused.headers
    assert httpx.get(f"{running.url}/readyz").status_code == 503
    assert running.world.engine.gate is not None
    running.world.engine.gate.set()
    assert ending([*begun, *lines]) == ("data: [DONE]", "stop")
    assert [event.finish_reason for event in running.ended()] == ["stop"]


def _refused(running: Running) -> httpx.Response:
    """A request that the journal has nothing of: its kind is wrong while the service lives."""
    return httpx.post(f"{running.url}/v1/chat/completions", content=b"-")


def test_what_takes_longer_than_the_grace_is_cut_and_logged(tmp_path: Path) -> None:
    running = Running(tmp_path, grace=0)
    lines = running.stream()
    begun = [next(lines), next(lines)]
    running.stop.set()
    assert ending([*begun, *lines]) == ("data: [DONE]", "length")
    (event,) = running.ended()
    assert (event.finish_reason, event.answer) == ("cancelled", "I")


def test_what_is_still_being_sent_at_the_end_is_refused_and_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = Running(tmp_path, grace=0)
    host, port = running.url.removeprefix("http://").split(":")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as sending:
        sending.sendall(f"{head}content-length: 99\r\n\r\n{{".encode())
        lines = running.stream()  # behind it: once this one is answered, that one has been taken
        begun = [next(lines), next(lines)]
        running.stop.set()
        answer = b"".join(iter(lambda: sending.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 503 "), answer
    assert b"shutting_down" in answer
    assert b"retry-after" in answer.lower()
    assert ending([*begun, *lines]) == ("data: [DONE]", "length")
    assert len(running.ended()) == 1
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
