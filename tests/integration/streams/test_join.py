"""The joins on a real broker: either order, repeats, late and broken records, kill -9, and clients of another make."""

import asyncio
import json
import signal
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaProducer
from support.streams import RING, RNG, Streams, direct, handled, inference, message, publish, revisions, thumb, until

from pawl_shared.access.tokens import Grant, KeyRing, is_marked
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Message
from pawl_shared.codec import decode
from pawl_shared.events import DeadLetter, InferenceLogged
from pawl_shared.topics import DEAD_LETTERS, FEEDBACK, TOPICS

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def streams(kafka: str, tmp_path: Path) -> Iterator[Streams]:
    KafkaBus(kafka).create_topics(TOPICS)
    service = Streams(kafka, tmp_path)
    service.start()
    yield service
    service.close()


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
    until(lambda: len(handled(bus, sessions)) >= 20, streams)
    streams.end(signal.SIGKILL)
    publish(bus, *shuffled[100:])
    streams.start()
    until(lambda: len(handled(bus, sessions)) == len(log), streams)

    latest = {r.inference_id: r for r in sorted(revisions(bus, sessions), key=lambda r: r.revision)}
    assert [latest[answer.inference_id].reward for answer in answers] == [n % 2 for n in range(20)]
    assert not [r for r in latest.values() if not (r.joined and r.rated)]
    late = {opinions[session][2].id for session in sessions}
    orphans = [r for r in revisions(bus, sessions) if r.feedback and r.feedback.id in late]
    assert len({r.id for r in orphans}) == 20
    assert all(not r.joined and r.reward is None and "too late" in r.reason for r in orphans)
    assert any("nonsense" in letter.reason for letter in dead_letters(bus))


class Bytes(str):
    """A header's name that goes out as bytes that are not UTF-8."""

    def encode(self, *_: str) -> bytes:
        return b"\xff\xfe"


def test_a_header_whose_name_is_no_text_stops_nothing(kafka: str, streams: Streams) -> None:
    bus, answer = KafkaBus(kafka), inference(uuid.uuid4().hex)
    producer = KafkaProducer(bootstrap_servers=kafka)
    headers = [("ce_type", b"nonsense"), (Bytes("name"), b"content")]
    producer.send(FEEDBACK.name, b"{}", answer.session.encode(), headers=headers).get(60)
    producer.close()
    publish(bus, message(answer), message(thumb(answer, 1, timedelta(minutes=1))))
    until(lambda: any(r.rated for r in revisions(bus, {answer.session})), streams)
    assert any(r"\xff\xfe" in letter.record_headers for letter in dead_letters(bus))


def granted(of: InferenceLogged) -> Grant:
    return Grant(of.inference_id, 0, of.model, of.session, None, datetime.now(UTC) + timedelta(days=1))


def test_feedback_from_another_kafka_client_counts_with_the_answers_token_alone(kafka: str, streams: Streams) -> None:
    bus, answer = KafkaBus(kafka), inference(uuid.uuid4().hex)
    said = {"inference_id": str(answer.inference_id), "kind": "thumb", "value": 1}
    forged = KeyRing.of(b"x" * 32)

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=kafka)
        await producer.start()
        try:
            good, bad = direct(RING, granted(answer), "vote-1"), direct(forged, granted(answer), "vote-2")
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

    until(lambda: len(refused()) >= 2 and len(handled(bus, {answer.session})) == 2, streams)
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
