"""A whole Pawl is backed up amid its life, restored on an empty machine, and goes on where it was."""

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from benchmarks.support.tiny_model import write_random_tiny
from support.whole_stack import until
from typer.testing import CliRunner

from pawl_cli.__main__ import app
from pawl_cli.running.stack import Options, Stack, running
from pawl_shared import events as e
from pawl_shared.codec import decode, encode
from pawl_shared.topics import DEPLOYMENTS, EVIDENCE

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.model,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif("PAWL_LONG_TESTS" not in os.environ, reason="takes two minutes: set PAWL_LONG_TESTS=1"),
]


def options(data: Path, base: Path) -> Options:
    environment = {"PAWL_SESSION_GAP_SECONDS": "1", "PAWL_TICK_SECONDS": "0.5"}
    return Options(data=data, base=str(base), environment=environment)


def ask(stack: Stack, text: str) -> Any:
    client = openai.OpenAI(base_url=f"{stack.urls['inference']}/v1", api_key="none", max_retries=5)
    session = {"session_id": uuid.uuid4().hex}
    return client.chat.completions.create(
        model="assistant", messages=[{"role": "user", "content": text}], max_tokens=6, temperature=0, metadata=session
    )


def rate(stack: Stack, answer: Any, **opinion: str) -> None:
    body = {"inference_id": answer.id, "token": answer.metadata["feedback_token"], **opinion}
    response = httpx.post(f"{stack.urls['inference']}/v1/feedback", json=body, timeout=30)
    assert response.status_code == 202, response.text


def api(stack: Stack, path: str) -> Any:
    response = httpx.get(f"{stack.urls['monitor']}/api/{path}", timeout=30)
    return response.json() if response.status_code == 200 else None


def stored(stack: Stack) -> dict[str, int]:
    """Counts of all time."""
    return {name: count for name, count in api(stack, "counts").items() if not name.endswith("_recent")}


def observed(stack: Stack) -> list[e.Event]:
    events = [decode(record) for record in stack.bus.read(EVIDENCE.name) if record]
    return [event for event in events if isinstance(event, e.SessionObserved)]


def deployed(stack: Stack) -> list[e.Event]:
    return [decode(record) for record in stack.bus.read(DEPLOYMENTS.name) if record]


def told(answer: Any, found: dict[str, Any]) -> list[Any]:
    """What the monitor says of an answer, but for the places of its records."""
    events = [{k: v for k, v in event.items() if k not in ("part", "position")} for event in found["feedback_events"]]
    return [answer.id, found["answer"], found["reward"], events]


def change_base(stack: Stack, base: Path) -> None:
    command = e.RegisterModelCommand(
        id=uuid.uuid4(), time=datetime.now(UTC), source="test", model=stack.options.model, base=str(base), who="test"
    )
    producer = stack.bus.producer("test")
    producer.send(encode(command)).result(30)
    producer.close()


def pawl(*words: str | Path) -> None:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output


def test_a_restored_pawl_serves_counts_and_joins_as_before(tmp_path: Path) -> None:
    first, second = (write_random_tiny(tmp_path / f"base-{seed}" / "tiny", seed=seed) for seed in range(2))
    old, kept, new = tmp_path / "old", tmp_path / "kept", tmp_path / "new"
    with running(options(old, first), lambda *_: None) as stack:
        answers = [ask(stack, f"What is {n}?") for n in range(6)]
        before = answers[0].metadata["version"]
        change_base(stack, second)
        others = list[Any]()
        until(
            lambda: others.append(ask(stack, "And now?")) or others[-1].metadata["version"] != before,
            "the second base does not serve",
        )
        answers += [ask(stack, f"What is {n}?") for n in range(6)]
        for number, answer in enumerate(answers[:-1]):
            rate(stack, answer, thumb="up" if number % 2 else "down")
        rated = [answer.id for answer in answers[:-1]]
        until(lambda: all((api(stack, f"interactions/{i}") or {}).get("feedback_events") for i in rated), "not joined")
        total = len(answers) + len(others)
        until(lambda: len(observed(stack)) == total, "not every session was observed")
        until(lambda: stored(stack)["answers"] == stored(stack)["sessions"] == total, "not every session was counted")
        counts, evidence, deployments = stored(stack), observed(stack), deployed(stack)
        assert len(deployments) == 2
        facts = [told(answer, api(stack, f"interactions/{answer.id}")) for answer in answers]
        models = httpx.get(f"{stack.urls['inference']}/v1/models").json()
        pawl("backup", kept, "--data", old)
    pawl("restore", kept, "--data", new)
    with running(options(new, second), lambda *_: None) as stack:
        assert httpx.get(f"{stack.urls['inference']}/v1/models").json() == models
        assert deployed(stack) == deployments
        assert observed(stack) == evidence
        assert stored(stack) == counts
        assert [told(answer, api(stack, f"interactions/{answer.id}")) for answer in answers] == facts

        again = ask(stack, "What is 5?")
        assert again.metadata["version"] == answers[-1].metadata["version"]
        assert again.choices == answers[-1].choices
        # Feedback about answers of before the backup: the first that an answer gets, and one that replaces another.
        rate(stack, answers[-1], correction="It is five.")
        rate(stack, answers[0], thumb="up")
        until(
            lambda: api(stack, f"interactions/{answers[-1].id}")["reward"] is not None, "the correction does not count"
        )
        assert "It is five." in str(api(stack, f"interactions/{answers[-1].id}"))
        until(lambda: api(stack, f"interactions/{answers[0].id}")["reward"] == 1.0, "the later thumb does not count")
