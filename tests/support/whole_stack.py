"""What tests ask of a whole Pawl that runs."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import openai

from pawl_cli.running.stack import Stack


def until(condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """Wait for a condition to hold, and answer what it gave."""
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up, what
        time.sleep(0.2)
    return found


def ask(stack: Stack, text: str, user: str = "ada") -> Any:
    """A short answer, in a session of its own."""
    client = openai.OpenAI(base_url=f"{stack.urls['inference']}/v1", api_key="none", max_retries=5)
    return client.chat.completions.create(
        model="assistant",
        messages=[{"role": "user", "content": text}],
        max_tokens=8,
        user=user,
        metadata={"session_id": uuid.uuid4().hex},
    )


def interaction(stack: Stack, inference_id: str) -> dict[str, Any] | None:
    """What the monitor has of an answer."""
    response = httpx.get(f"{stack.urls['monitor']}/api/interactions/{inference_id}")
    return dict(response.json()) if response.status_code == 200 else None


def counts(stack: Stack) -> dict[str, Any]:
    """Answers, feedback and sessions that are stored of the stack's model."""
    response = httpx.get(f"{stack.urls['monitor']}/api/counts", params={"model": stack.options.model}, timeout=30)
    response.raise_for_status()
    return dict(response.json())


def stands(stack: Stack) -> None:
    """Everything runs, nothing was started again, and the loop carries answers."""
    assert stack.obstacles() == {}
    assert [h for h in stack.poll() if h.unit] == []
    answer = ask(stack, "Are you still there?")
    until(lambda: interaction(stack, answer.id), "the loop no longer carries answers")
