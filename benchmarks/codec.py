"""Encoding and decoding an InferenceLogged through pawl_shared.codec, beside the official cloudevents SDK.

Both start from the same event, end with an equal validated event, and pass through the same Kafka message in between.

Run: .venv/bin/python -m benchmarks.codec [--quick]
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from benchmarks.harness import Benchmark, Target, main, rate
from cloudevents.core.bindings.kafka import from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from pawl_shared import codec
from pawl_shared.buses.port import Record
from pawl_shared.events import ENVELOPE, Event, InferenceLogged, Message

COUNT = 1_000
APPENDED = datetime(2026, 1, 1, tzinfo=UTC)
ANSWER = "A pawl lets the wheel turn one way only, so what was gained is never lost again. " * 4


def sample() -> InferenceLogged:
    """One short conversation with an answer of some 60 words, the size that a demo's session has."""
    return InferenceLogged(
        id=UUID(int=1),
        time=APPENDED,
        source="inference/benchmark",
        inference_id=UUID(int=2),
        model="default/assistant",
        session="session-1",
        messages=(Message(role="system", content="Answer briefly."), Message(role="user", content="What is a pawl?")),
        answer=ANSWER,
        finish_reason="stop",
        arm="champion",
        version="0" * 64,
        revision=1,
        prompt_tokens=24,
        answer_tokens=80,
        first_token_seconds=0.1,
        total_seconds=0.9,
    )


def through_codec(event: InferenceLogged) -> Event:
    message = codec.encode(event)
    return codec.decode(Record(message.topic, 0, 0, APPENDED, message.key, message.value, message.headers))


def through_sdk(event: InferenceLogged) -> Event:
    attributes: dict[str, Any] = {
        "id": str(event.id),
        "source": event.source,
        "type": event.TYPE,
        "time": event.time,
        "subject": event.key,
        "datacontenttype": "application/json",
        "specversion": "1.0",
    }
    data = event.model_dump(mode="json", exclude=set(ENVELOPE))
    message = to_binary(CloudEvent(attributes, data), JSONFormat(), key_mapper=lambda _: event.key)
    back = from_binary(message, JSONFormat(), CloudEvent)
    envelope = {"id": back.get_id(), "time": back.get_time(), "source": back.get_source()}
    content = back.get_data()
    assert isinstance(content, dict)
    return InferenceLogged.model_validate({**content, **envelope})


def benchmark() -> Benchmark:
    event = sample()
    assert through_codec(event) == through_sdk(event) == event
    return Benchmark(
        name="codec",
        unit="events/s",
        variants={
            "pawl": rate(lambda: [through_codec(event) for _ in range(COUNT)], COUNT),
            "cloudevents SDK": rate(lambda: [through_sdk(event) for _ in range(COUNT)], COUNT),
        },
        targets=[Target("pawl", peer="cloudevents SDK", at_least=1.0)],
        libraries=["cloudevents", "pydantic"],
    )


if __name__ == "__main__":
    sys.exit(main(benchmark()))
