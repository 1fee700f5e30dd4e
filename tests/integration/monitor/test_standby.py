"""A second monitor says that it stands by, and takes over when the first is killed."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from pawl_cli.running.ports import any_free
from pawl_monitor.app import build
from pawl_monitor.settings import MonitorSettings
from pawl_monitor.standby import StandbyMonitor
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.topics import TOPICS

HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up, "did not happen"
        time.sleep(0.02)


def probe(url: str) -> tuple[int, str]:
    try:
        response = httpx.get(f"{url}/readyz", timeout=5)
    except httpx.HTTPError:
        return 0, ""
    return response.status_code, response.text


def test_it_waits_for_the_database_and_then_serves(tmp_path: Path) -> None:
    settings = MonitorSettings(data_dir=tmp_path, http_port=any_free())
    settings.database.parent.mkdir(parents=True)
    command = [sys.executable, "-c", HOLD, str(settings.database)]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "open\n"
    bus, stop = MemoryBus(), threading.Event()
    bus.create_topics(TOPICS)
    second = StandbyMonitor(settings, lambda found: build(found, bus=bus))
    thread = threading.Thread(target=second.run, args=(stop,))
    thread.start()
    url = f"http://127.0.0.1:{settings.http_port}"
    try:
        until(lambda: probe(url)[0] == 503)
        assert f"standby: process {first.pid} has the database" in probe(url)[1]
        first.kill()
        first.communicate()
        until(lambda: probe(url)[0] == 200)
        assert httpx.get(f"{url}/api/models", timeout=30).json() == []
    finally:
        first.kill()
        first.communicate()
        stop.set()
        thread.join(30)
    assert not thread.is_alive()


def test_a_standby_can_be_stopped(tmp_path: Path) -> None:
    settings = MonitorSettings(data_dir=tmp_path, http_port=any_free())
    settings.database.parent.mkdir(parents=True)
    command = [sys.executable, "-c", HOLD, str(settings.database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        first.stdout.readline()
        stop = threading.Event()
        thread = threading.Thread(target=StandbyMonitor(settings, build).run, args=(stop,))
        thread.start()
        until(lambda: probe(f"http://127.0.0.1:{settings.http_port}")[0] == 503)
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
        first.kill()
