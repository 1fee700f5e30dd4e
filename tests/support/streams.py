"""`python -m pawl_streams` as a process, and events to feed it."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pawl_shared.access.tokens import Grant, KeyRing, mark, sign
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Message
from pawl_shared.codec import decode, encode
from pawl_shared.events import FeedbackReceived, InferenceLogged, InteractionScored
from pawl_shared.events import Message as Turn
from pawl_shared.ids import uuid7
from pawl_shared.topics import INTERACTIONS

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


def said(of: InferenceLogged, kind: str, value: float, after: timedelta, name: str = "") -> FeedbackReceived:
    return FeedbackReceived(
        id=uuid.uuid4(), time=NOW + after, source="test", inference_id=of.inference_id, model=of.model,
        session=of.session, kind=kind, value=value, name=name,
    )  # fmt: skip


def thumb(of: InferenceLogged, value: float, after: timedelta = timedelta(0)) -> FeedbackReceived:
    return said(of, "thumb", value, after)


def message(event: InferenceLogged | FeedbackReceived) -> Message:
    """As the edge sends it."""
    return mark(RING, encode(event)) if isinstance(event, FeedbackReceived) else encode(event)


def direct(ring: KeyRing, grant: Grant, identity: str) -> list[tuple[str, bytes]]:
    """Headers of feedback that an app sends to pawl.feedback itself."""
    headers = {
        "ce_specversion": "1.0", "ce_type": FeedbackReceived.TYPE, "ce_source": "shop", "ce_id": identity,
        "ce_time": NOW.isoformat(), "ce_feedbacktoken": sign(ring, grant),
    }  # fmt: skip
    return [(name, text.encode()) for name, text in headers.items()]


class Streams:
    """One instance of the service."""

    def __init__(self, kafka: str, data_dir: Path, instance: str = "0") -> None:
        self.environment = os.environ | {"PAWL_KAFKA_BOOTSTRAP_SERVERS": kafka, "PAWL_DATA_DIR": str(data_dir)}
        self.environment |= {"PAWL_TOKEN_KEY": KEY, "PAWL_INSTANCE": instance}
        self.instance = instance
        self.log = data_dir / f"log-{instance}.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "pawl_streams"]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: int) -> None:
        self.signal(number)
        assert self.process is not None
        try:
            self.process.wait(120)  # amid a rebalance it ends when that is over
        finally:
            self.process.kill()  # else it would stay in its group, for all tests that come

    def close(self) -> None:
        """In order; whatever still runs has to end well."""
        if self.alive:
            self.end(signal.SIGTERM)
            assert self.process is not None
            assert self.process.returncode == 0, self.log.read_text()[-2000:]


def publish(bus: KafkaBus, *messages: Message) -> None:
    producer = bus.producer("test")
    for sent in [producer.send(message) for message in messages]:
        sent.result(30)
    producer.close()


def revisions(bus: KafkaBus, sessions: set[str]) -> list[InteractionScored]:
    events = [decode(record) for record in bus.read(INTERACTIONS.name) if record]
    return [e for e in events if isinstance(e, InteractionScored) and e.session in sessions]


def handled(bus: KafkaBus, sessions: set[str]) -> set[uuid.UUID]:
    """Ids of the revisions that bring an event; without those that only tell where an answer stands."""
    return {r.id for r in revisions(bus, sessions) if r.inference or r.feedback}


def until(condition: Callable[[], bool], *services: Streams, seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        for service in services:
            assert service.alive, service.log.read_text()[-3000:]
        assert time.monotonic() < give_up, "\n\n".join(service.log.read_text()[-3000:] for service in services)
        time.sleep(0.2)
