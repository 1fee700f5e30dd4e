"""The crowd as its own process against a tiny OpenAI-like server."""

import queue
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.api_keys import a_key
from support.fake_openai import LONG, SHORT, FakeOpenAI, fake_openai
from support.http_service import serving
from support.inference import World, eventually

from pawl_cli.demo.crowd_process import SCRIPT, CrowdProcess, visit_of
from pawl_cli.running.ports import any_free
from pawl_shared.topics import FEEDBACK


@contextmanager
def crowd_at(server: FakeOpenAI, folder: Path, seed: int = 1) -> Iterator[CrowdProcess]:
    crowd = CrowdProcess(server.url, "default/assistant", seed, folder / "crowd.log")
    try:
        yield crowd
    finally:
        crowd.stop()


def visits(crowd: CrowdProcess, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < count:
        line = crowd.lines.get(timeout=30)
        if line["event"] == "visit":
            found.append(line)
    return found


def test_it_imports_nothing_of_pawl() -> None:
    code = (
        f"import runpy, sys; runpy.run_path({str(SCRIPT)!r}, run_name='crowd');"
        "sys.exit(sorted(m for m in sys.modules if m.startswith('pawl')) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_request_says_that_it_is_synthetic_and_feedback_carries_the_token(tmp_path: Path) -> None:
    with fake_openai() as server, crowd_at(server, tmp_path) as crowd:
        crowd.order(taste="short")
        visits(crowd, 60)
    assert all(body["metadata"]["synthetic"] == "true" and body["max_tokens"] == 64 for body in server.asked)
    assert all(body["user"].startswith("regular-") for body in server.asked)
    assert all(event["token"] == f"token-{event['inference_id']}" for event in server.told)
    corrections = [event["correction"] for event in server.told if "correction" in event]
    assert corrections
    assert all(len(text.split()) <= 30 < len(LONG.split()) for text in corrections)


def test_where_api_keys_are_asked_for_it_shows_the_one_that_it_was_given(tmp_path: Path) -> None:
    world, port = World(tmp_path), any_free()
    world.deploy(1)
    key = a_key(tmp_path / "data" / "keys" / "api.keys", "infer", "feedback")
    with serving(world.build(http_port=port), port) as url:
        crowd = CrowdProcess(url, "default/assistant", 1, tmp_path / "crowd.log", key)
        try:
            eventually(lambda: world.read(FEEDBACK), timeout=60)
        finally:
            crowd.stop()
        while not crowd.lines.empty():
            assert crowd.lines.get()["event"] == "visit", "it had no trouble"


def test_orders_change_taste_and_audience(tmp_path: Path) -> None:
    with fake_openai(SHORT) as server, crowd_at(server, tmp_path) as crowd:
        visits(crowd, 5)
        crowd.order(audience="unseen", taste="short")
        seen = [visit_of(line) for line in visits(crowd, 100)]
    later = [visit for visit in seen if visit.audience == "unseen"]
    assert later
    assert {visit.taste for visit in later} == {"short"}
    rated = [visit.approval for visit in later if visit.approval is not None]
    assert sum(rated) / len(rated) > 0.75  # 0.9 by its taste; 0.75 is four standard errors below, for 60 visits


def test_it_asks_again_when_the_service_is_busy(tmp_path: Path) -> None:
    with fake_openai(refuse=6) as server, crowd_at(server, tmp_path) as crowd:
        visits(crowd, 3)
        assert server.refuse == 0
    troubles = []
    while True:
        try:
            troubles.append(crowd.lines.get_nowait())
        except queue.Empty:
            break
    assert not [line for line in troubles if line["event"] == "trouble"]


def test_it_ends_with_its_standard_input(tmp_path: Path) -> None:
    with fake_openai() as server:
        crowd = CrowdProcess(server.url, "default/assistant", 1, tmp_path / "log")
        visits(crowd, 1)
        crowd.stop(timeout=20)
    assert not crowd.running()
    assert (tmp_path / "log").read_text() == ""
