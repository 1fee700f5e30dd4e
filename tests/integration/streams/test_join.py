"""The joins on a real broker: either order, repeats, broken records, and kill -9."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pawl_shared.bus import Message
from pawl_shared.codec import decode, encode
from pawl_shared.events import DeadLetter, FeedbackReceived, InferenceLogged, InteractionScored
from pawl_shared.events import Message as Turn
from pawl_shared.kafka_bus import KafkaBus
from pawl_shared.topics import DEAD_LETTERS, FEEDBACK, INTERACTIONS, TOPICS

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def inference(session: str) -> InferenceLogged:
    return InferenceLogged(
        id=uuid.uuid4(), time=NOW, source="test", inference_id=uuid.uuid4(), model="default/assistant", session=session,
        messages=(Turn(role="user", content="Hello"),), answer="Hi", finish_reason="stop", arm="champion",
        version="0" * 64, revision=1, prompt_tokens=1, answer_tokens=1, first_token_seconds=0.1, total_seconds=0.2,
    )  # fmt: skip


def thumb(of: InferenceLogged, value: float) -> FeedbackReceived:
    return FeedbackReceived(
        id=uuid.uuid4(), time=NOW, source="test", inference_id=of.inference_id, model=of.model, session=of.session,
        kind="thumb", value=value,
    )  # fmt: skip


class Streams:
    """The service as a process."""

    def __init__(self, kafka: str, data_dir: Path) -> None:
        self.environment = os.environ | {"PAWL_KAFKA_BOOTSTRAP_SERVERS": kafka, "PAWL_DATA_DIR": str(data_dir)}
        self.log = data_dir / "log.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "pawl_streams"]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def end(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(30)


@pytest.fixture
def streams(kafka: str, tmp_path: Path) -> Iterator[Streams]:
    KafkaBus(kafka).create_topics(TOPICS)
    service = Streams(kafka, tmp_path)
    service.start()
    yield service
    if service.process is not None and service.process.poll() is None:
        service.end(signal.SIGTERM)
        assert service.process.returncode == 0, service.log.read_text()[-2000:]


def publish(bus: KafkaBus, *messages: Message) -> None:
    producer = bus.producer("test")
    for message in messages:
        producer.send(message).result(30)
    producer.close()


def revisions(bus: KafkaBus, sessions: set[str]) -> list[InteractionScored]:
    events = [decode(record) for record in bus.read(INTERACTIONS.name) if record]
    return [e for e in events if isinstance(e, InteractionScored) and e.session in sessions]


def until(condition: Callable[[], bool], streams: Streams, seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        alive = streams.process is not None and streams.process.poll() is None
        assert alive, streams.log.read_text()[-3000:]
        assert time.monotonic() < give_up, streams.log.read_text()[-3000:]
        time.sleep(0.2)


def test_either_order_repeats_broken_records_and_a_kill(kafka: str, streams: Streams) -> None:
    bus = KafkaBus(kafka)
    answers = [inference(uuid.uuid4().hex) for _ in range(6)]
    sessions = {answer.session for answer in answers}
    opinions = [thumb(answer, n % 2) for n, answer in enumerate(answers)]
    broken = Message(FEEDBACK.name, answers[0].session.encode(), b"\x00", (("ce_type", b"nonsense"),))
    # the first three hear the opinion first; everything is sent twice; something unreadable is in between
    first = [encode(event) for pair in zip(opinions[:3], answers[:3], strict=True) for event in pair]
    publish(bus, *first, broken, *first)
    until(lambda: len({r.id for r in revisions(bus, sessions)}) == 6, streams)
    streams.end(signal.SIGKILL)
    second = [encode(event) for pair in zip(answers[3:], opinions[3:], strict=True) for event in pair]
    publish(bus, *second, *first)
    streams.start()
    until(lambda: len({r.id for r in revisions(bus, sessions)}) == 12, streams)

    latest = {r.inference_id: r for r in sorted(revisions(bus, sessions), key=lambda r: r.revision)}
    assert [latest[answer.inference_id].reward for answer in answers] == [n % 2 for n in range(6)]
    assert all(r.joined and r.rated and r.revision == 2 for r in latest.values())
    letters = [decode(record) for record in bus.read(DEAD_LETTERS.name) if record]
    mine = [e for e in letters if isinstance(e, DeadLetter) and e.service == "streams" and e.topic == FEEDBACK.name]
    assert any("unknown event type" in letter.reason or "ce_specversion" in letter.reason for letter in mine)
