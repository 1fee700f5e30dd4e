"""The joins on a real broker: either order, repeats, late and broken records, kill -9, and clients of another make."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from pawl_shared.bus import Message
from pawl_shared.codec import decode, encode
from pawl_shared.events import DeadLetter, FeedbackReceived, InferenceLogged, InteractionScored
from pawl_shared.events import Message as Turn
from pawl_shared.ids import uuid7
from pawl_shared.kafka_bus import KafkaBus
from pawl_shared.tokens import Grant, KeyRing, is_marked, mark, sign
from pawl_shared.topics import DEAD_LETTERS, FEEDBACK, INTERACTIONS, TOPICS

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
# As other tests' events on this broker: a partition's time goes with its newest event, and old answers are dropped.
NOW = datetime.now(UTC).replace(microsecond=0)
RNG = random.Random(4)
KEY = "5a" * 32
RING = KeyRing.of(bytes.fromhex(KEY))


def inference(session: str) -> InferenceLogged:
    return InferenceLogged(
        id=uuid.uuid4(), time=NOW, source="test", inference_id=uuid7(NOW, RNG), model="default/assistant",
        session=session, messages=(Turn(role="user", content="Hello"),), answer="Hi", finish_reason="stop",
        arm="champion", version="0" * 64, revision=1, prompt_tokens=1, answer_tokens=1, first_token_seconds=0.1,
        total_seconds=0.2,
    )  # fmt: skip


def thumb(of: InferenceLogged, value: float, after: timedelta = timedelta(0)) -> FeedbackReceived:
    return FeedbackReceived(
        id=uuid.uuid4(), time=NOW + after, source="test", inference_id=of.inference_id, model=of.model,
        session=of.session, kind="thumb", value=value,
    )  # fmt: skip


def message(event: InferenceLogged | FeedbackReceived) -> Message:
    """As the edge sends it."""
    return mark(RING, encode(event)) if isinstance(event, FeedbackReceived) else encode(event)


class Streams:
    """The service as a process."""

    def __init__(self, kafka: str, data_dir: Path) -> None:
        self.environment = os.environ | {"PAWL_KAFKA_BOOTSTRAP_SERVERS": kafka, "PAWL_DATA_DIR": str(data_dir)}
        self.environment["PAWL_TOKEN_KEY"] = KEY
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
    for sent in [producer.send(message) for message in messages]:
        sent.result(30)
    producer.close()


def revisions(bus: KafkaBus, sessions: set[str]) -> list[InteractionScored]:
    events = [decode(record) for record in bus.read(INTERACTIONS.name) if record]
    return [e for e in events if isinstance(e, InteractionScored) and e.session in sessions]


def until(condition: Callable[[], bool], streams: Streams, seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        alive = streams.process is not None and streams.process.poll() is None
        assert alive, streams.log.read_text()[-3000:]
        assert time.monotonic() < give_up, streams.log.read_text()[-3000:]
        time.sleep(0.2)


def dead_letters(bus: KafkaBus) -> list[DeadLetter]:
    events = [decode(record) for record in bus.read(DEAD_LETTERS.name) if record]
    return [e for e in events if isinstance(e, DeadLetter) and e.service == "streams" and e.topic == FEEDBACK.name]


def test_any_order_repeats_late_and_broken_records_and_a_kill(kafka: str, streams: Streams) -> None:
    bus = KafkaBus(kafka)
    answers = [inference(uuid.uuid4().hex) for _ in range(20)]
    sessions = {answer.session for answer in answers}
    # Of each: two opinions of which the later counts, then one that comes after the window.
    opinions = {
        answer.session: [
            thumb(answer, (n + 1) % 2, timedelta(minutes=1)),
            thumb(answer, n % 2, timedelta(minutes=2)),
            thumb(answer, (n + 1) % 2, timedelta(days=8)),
        ]
        for n, answer in enumerate(answers)
    }
    log = [message(event) for answer in answers for event in (answer, *opinions[answer.session])]
    broken = Message(FEEDBACK.name, answers[0].session.encode(), b"\x00", (("ce_type", b"nonsense"),))
    shuffled = RNG.sample(log + log, k=2 * len(log))
    publish(bus, *shuffled[:100], broken)
    until(lambda: len({r.id for r in revisions(bus, sessions)}) >= 20, streams)
    streams.end(signal.SIGKILL)
    publish(bus, *shuffled[100:])
    streams.start()
    until(lambda: len({r.id for r in revisions(bus, sessions)}) == len(log), streams)

    latest = {r.inference_id: r for r in sorted(revisions(bus, sessions), key=lambda r: r.revision)}
    assert [latest[answer.inference_id].reward for answer in answers] == [n % 2 for n in range(20)]
    assert not [r for r in latest.values() if not (r.joined and r.rated)]
    late = {opinions[session][2].id for session in sessions}
    orphans = [r for r in revisions(bus, sessions) if r.feedback and r.feedback.id in late]
    assert len({r.id for r in orphans}) == 20
    assert all(not r.joined and r.reward is None and "too late" in r.reason for r in orphans)
    assert any("nonsense" in letter.reason for letter in dead_letters(bus))


def direct(of: InferenceLogged, ring: KeyRing, value: object, identity: str) -> list[tuple[str, bytes]]:
    grant = Grant(of.inference_id, 0, of.model, of.session, None, datetime.now(UTC) + timedelta(days=1))
    headers = {
        "ce_specversion": "1.0", "ce_type": FeedbackReceived.TYPE, "ce_source": "shop", "ce_id": identity,
        "ce_time": NOW.isoformat(), "ce_feedbacktoken": sign(ring, grant),
    }  # fmt: skip
    return [(name, text.encode()) for name, text in headers.items()]


def test_feedback_from_another_kafka_client_counts_with_the_answers_token_alone(kafka: str, streams: Streams) -> None:
    bus, answer = KafkaBus(kafka), inference(uuid.uuid4().hex)
    said = {"inference_id": str(answer.inference_id), "kind": "thumb", "value": 1}
    forged = KeyRing.of(b"x" * 32)

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=kafka)
        await producer.start()
        try:
            good, bad = direct(answer, RING, said, "vote-1"), direct(answer, forged, said, "vote-2")
            out_of_range = said | {"value": 7}
            # Each key, or none: clients choose partitions in their own ways. The first comes twice.
            for key, headers, value in (
                (b"some", good, said), (None, good, said), (b"s", bad, said), (b"t", good, out_of_range),
            ):  # fmt: skip
                await producer.send_and_wait(FEEDBACK.name, json.dumps(value).encode(), key=key, headers=headers)
        finally:
            await producer.stop()

    publish(bus, message(answer))
    before = {letter.id for letter in dead_letters(bus)}
    asyncio.run(send())

    def refused() -> list[str]:
        return [letter.reason for letter in dead_letters(bus) if letter.id not in before]

    until(lambda: len(refused()) >= 2 and len({r.id for r in revisions(bus, {answer.session})}) == 2, streams)
    assert any("signature is wrong" in reason for reason in refused())
    assert any("a value from 0 to 1" in reason for reason in refused())
    counted = next(r for r in revisions(bus, {answer.session}) if r.feedback)
    said_by = counted.feedback
    assert (counted.reward, counted.joined) == (1.0, True)
    assert said_by is not None
    assert (said_by.via, said_by.source, said_by.session) == (
        "kafka",
        "shop",
        answer.session,
    )
    records = [record for record in bus.read(FEEDBACK.name) if record and record.key == answer.session.encode()]
    assert records
    assert all(is_marked(RING, record) for record in records)
    changed = records[0]._replace(value=(records[0].value or b"").replace(b"1.0", b"0.0"))
    assert not is_marked(RING, changed)
