"""Alerts over real HTTP: a receiver that fails at first, one that was away, and the one that the docs show."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from support.project import ROOT
from support.samples import MODEL, SAMPLES

from pawl_cli.running.ports import any_free
from pawl_monitor.app import build
from pawl_monitor.settings import MonitorSettings
from pawl_shared import events as e
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.clock import SystemClock
from pawl_shared.codec import encode
from pawl_shared.errors import ConfigurationError
from pawl_shared.topics import TOPICS

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "did not happen"
        time.sleep(0.02)


class Receiver:
    """Answers with the given statuses, then with 204; `posts` holds (webhook-id, body) of all."""

    def __init__(self, *statuses: int) -> None:
        self.posts: list[tuple[str, bytes]] = []
        posts, waiting = self.posts, list(statuses)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                posts.append((self.headers["webhook-id"], body))
                self.send_response(waiting.pop(0) if waiting else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05])
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def bus() -> MemoryBus:
    bus = MemoryBus()
    bus.create_topics(TOPICS)
    return bus


class Monitor:
    """A whole monitor, which posts to `url`."""

    def __init__(self, bus: MemoryBus, folder: Path, url: str) -> None:
        settings = MonitorSettings(data_dir=folder, http_port=0, alert_url=url, alert_secret=SECRET, gather_seconds=0)
        self._service, self._stop = build(settings, bus=bus), threading.Event()
        self._thread = threading.Thread(target=self._service.run, args=[self._stop])
        self._thread.start()
        until(lambda: self._service.health.ready)

    def owed(self) -> Mapping[str, int]:
        effects = self._service._runner._effects
        return effects.owed() if effects else {}

    def close(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def alarm(bus: MemoryBus) -> UUID:
    """An alarm on the log; answers its id."""
    found = next(event for event in SAMPLES if isinstance(event, e.DriftDetected))
    found = found.model_copy(update={"id": uuid4(), "time": SystemClock().now()})
    producer = bus.producer("test")
    producer.send(encode(found)).result(10)
    producer.close()
    return found.id


def test_a_receiver_that_fails_at_first_gets_each_alert_again_under_its_id(
    bus: MemoryBus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    receiver = Receiver(500)
    monitor = Monitor(bus, tmp_path, receiver.url)
    try:
        first = alarm(bus)
        until(lambda: len(receiver.posts) >= 2)
        second = alarm(bus)
        until(lambda: len(receiver.posts) >= 3)
    finally:
        monitor.close()
        receiver.close()
    assert receiver.url not in caplog.text, "an address may be a secret"
    ids = [identity for identity, _ in receiver.posts]
    assert ids[0] == ids[1] != ids[2]
    assert receiver.posts[0][1] == receiver.posts[1][1]
    alarms = [json.loads(body)["data"]["alarm"] for _, body in receiver.posts]
    assert alarms == [str(first), str(first), str(second)]
    assert json.loads(receiver.posts[0][1])["subject"] == MODEL


def test_what_a_receiver_that_was_away_missed_is_sent_after_a_restart(bus: MemoryBus, tmp_path: Path) -> None:
    with socket.socket() as taken:  # nobody answers there, and nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        monitor = Monitor(bus, tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}/")
        missed = alarm(bus)
        until(lambda: monitor._service.reader.records(MODEL))
        monitor.close()
    receiver = Receiver()
    monitor = Monitor(bus, tmp_path, receiver.url)
    try:
        until(lambda: receiver.posts and not any(monitor.owed().values()))
    finally:
        monitor.close()
    monitor = Monitor(bus, tmp_path, receiver.url)  # it is owed no longer
    try:
        later = alarm(bus)
        until(lambda: len(receiver.posts) >= 2)
    finally:
        monitor.close()
        receiver.close()
    assert [json.loads(body)["data"]["alarm"] for _, body in receiver.posts] == [str(missed), str(later)]


@pytest.fixture
def documented(tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The receiver of docs/alerts.md, as a reader would run it."""
    (code,) = re.findall(r"```python\n(# receiver\.py.*?)```", (ROOT / "docs/alerts.md").read_text(), re.DOTALL)
    path = tmp_path / "receiver.py"
    path.write_text(code)
    port = any_free()
    child = subprocess.Popen(
        [sys.executable, str(path), str(port)], env={**os.environ, "PAWL_ALERT_SECRET": SECRET}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}/", child
    finally:
        child.kill()
        child.communicate()


def test_the_receiver_of_the_documentation_trusts_the_monitor_and_nobody_else(
    documented: tuple[str, "subprocess.Popen[str]"], bus: MemoryBus, tmp_path: Path
) -> None:
    url, child = documented

    def forged() -> int | None:
        headers = {"webhook-id": "1", "webhook-timestamp": str(int(time.time())), "webhook-signature": "v1,AAAA"}
        try:
            return httpx.post(url, content=b"{}", headers=headers).status_code
        except httpx.TransportError:
            return None

    until(forged)
    assert forged() == 401
    monitor = Monitor(bus, tmp_path / "data", url)
    try:
        alarm(bus)
        assert child.stdout is not None
        assert child.stdout.readline() == "firing Approval of default/assistant has drifted\n"
    finally:
        monitor.close()


def test_an_address_without_a_secret_is_refused_with_advice(bus: MemoryBus, tmp_path: Path) -> None:
    for secret in (None, "whsec_short"):
        settings = MonitorSettings(data_dir=tmp_path, alert_url="http://127.0.0.1:1/", alert_secret=secret)
        with pytest.raises(ConfigurationError, match=r"PAWL_ALERT_SECRET.*docs/alerts\.md"):
            build(settings, bus=bus)
