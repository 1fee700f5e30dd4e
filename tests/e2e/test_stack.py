"""All services as processes on a real broker, with a tiny model: what a whole Pawl must survive."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import psutil
import pytest
from support.tiny_model import write_random_tiny

from pawl_cli.stack import Options, Stack
from pawl_shared.bus import Message
from pawl_shared.codec import decode
from pawl_shared.events import DeadLetter
from pawl_shared.topics import DEAD_LETTERS, TOPICS

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(420)]


def until(condition: Callable[[], Any], what: str, seconds: float = 90) -> Any:
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up, what
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    base = write_random_tiny(tmp_path_factory.mktemp("base") / "tiny")
    data = tmp_path_factory.mktemp("data")
    environment = {"PAWL_SESSION_GAP_SECONDS": "1", "PAWL_TICK_SECONDS": "0.5"}
    # its own broker, since its topics have fixed names
    stack = Stack(Options(data=data, base=str(base), environment=environment))
    try:
        stack.start(lambda *_: None)
        yield stack
    finally:
        stack.stop()
    mine = [p for p in psutil.process_iter(["cmdline"]) if str(data) in " ".join(p.info["cmdline"] or ())]
    assert mine == []


def ask(stack: Stack, text: str) -> Any:
    client = openai.OpenAI(base_url=f"{stack.urls['inference']}/v1", api_key="none", max_retries=5)
    return client.chat.completions.create(
        model="assistant",
        messages=[{"role": "user", "content": text}],
        max_tokens=8,
        user="ada",
        metadata={"session_id": uuid.uuid4().hex},
    )


def interaction(stack: Stack, inference_id: str) -> dict[str, Any] | None:
    response = httpx.get(f"{stack.urls['monitor']}/api/interactions/{inference_id}", timeout=10)
    return dict(response.json()) if response.status_code == 200 else None


def test_an_answer_and_what_was_thought_of_it_reach_the_monitor(stack: Stack) -> None:
    answer = ask(stack, "Why is the sky blue?")
    feedback = {
        "inference_id": answer.id,
        "token": answer.metadata["feedback_token"],
        "correction": "Air scatters blue.",
    }
    response = httpx.post(f"{stack.urls['inference']}/v1/feedback", json=feedback, timeout=30)
    assert response.status_code == 202, response.text
    found = until(
        lambda: (known := interaction(stack, answer.id)) and "Air scatters blue." in str(known) and known,
        "the correction did not reach the monitor",
    )
    assert found["answer"] == answer.choices[0].message.content


def test_a_malformed_record_on_any_topic_ends_in_dead_letters_and_nothing_stops(stack: Stack) -> None:
    producer = stack.bus.producer("test")
    broken = [topic.name for topic in TOPICS if not topic.internal]
    for name in broken:
        producer.send(Message(name, b"key", b"\xff not an event", (("ce_type", b"\xfe"),))).result(30)
        producer.send(Message(name, b"key", None, ())).result(30)
    producer.close()

    def buried() -> bool:
        records = [record for record in stack.bus.read(DEAD_LETTERS.name) if record]
        letters = []
        for record in records:
            try:
                letters.append(decode(record))
            except Exception:
                continue
        assert all(isinstance(letter, DeadLetter) and letter.reason for letter in letters)
        return {letter.topic for letter in letters if isinstance(letter, DeadLetter)} >= set(broken)

    until(buried, "not every topic's malformed record was buried")
    assert stack.obstacles() == {}
    assert [h for h in stack.poll() if h.unit] == []
    answer = ask(stack, "Are you still there?")
    until(lambda: interaction(stack, answer.id), "the loop no longer carries answers")
