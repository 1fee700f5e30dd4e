"""Events on the wire: the official CloudEvents SDK reads every topic; what was published once is readable for ever."""

import base64
import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from support.samples import INFERENCE, SAMPLES

from pawl_shared.buses.port import Message, Record
from pawl_shared.codec import decode, encode
from pawl_shared.errors import DecodeError
from pawl_shared.events import ENVELOPE, EVENT_TYPES, Event, Tick
from pawl_shared.topics import TOPICS, topic_of

FILES = Path(__file__).parent / "samples"


def record_of(message: Message) -> Record:
    return Record(message.topic, 0, 0, datetime(2026, 3, 1, tzinfo=UTC), message.key, message.value, message.headers)


def by_type(event: Event) -> str:
    return event.TYPE


def test_every_event_has_a_sample_and_one_topic() -> None:
    assert {event.TYPE for event in SAMPLES} == set(EVENT_TYPES)
    assert sum(len(topic.events) for topic in TOPICS) == len(EVENT_TYPES)


@pytest.mark.parametrize("event", SAMPLES, ids=by_type)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    assert decode(record_of(encode(event))) == event


@pytest.mark.parametrize("event", SAMPLES, ids=by_type)
def test_the_official_sdk_decodes_it(event: Event) -> None:
    message = encode(event)
    # the SDK takes the content type and ce_ headers; a plain traceparent header is the business of the tracing layer
    headers = dict(message.headers)
    found = from_binary_event(KafkaMessage(headers=headers, key=message.key, value=message.value or b""))
    assert found.get_id() == str(event.id)
    assert found.get_type() == event.TYPE
    assert found.get_source() == event.source
    assert found.get_subject() == event.key
    assert found.get_time() == event.time
    assert found.get_data() == json.loads(event.model_dump_json(exclude=set(ENVELOPE)))


@pytest.mark.parametrize("event", SAMPLES, ids=by_type)
def test_what_was_once_published_still_decodes(event: Event) -> None:
    path = FILES / f"{event.TYPE}.json"
    assert path.exists(), f"a new event type needs its sample: python {Path(__file__).name.replace('test_', 'write_')}"
    stored = json.loads(path.read_text())
    headers = tuple((name, value.encode()) for name, value in stored["headers"].items())
    record = Record(
        stored["topic"], 0, 0, datetime(2026, 3, 1, tzinfo=UTC), stored["key"].encode(),
        base64.b64decode(stored["value"]), headers,
    )  # fmt: skip
    assert decode(record).TYPE == event.TYPE


def test_unknown_fields_are_ignored_so_that_events_can_grow() -> None:
    message = encode(INFERENCE)
    value = json.loads(message.value or b"") | {"new_in_v1_9": [1, 2]}
    grown = Message(message.topic, message.key, json.dumps(value).encode(), message.headers)
    assert decode(record_of(grown)) == INFERENCE


@pytest.mark.parametrize(
    ("field", "value"),
    [("total_seconds", math.nan), ("total_seconds", math.inf), ("total_seconds", -1), ("version", "xyz"), ("arm", "b")],
)
def test_values_out_of_range_are_named(field: str, value: object) -> None:
    message = encode(INFERENCE)
    changed = json.loads(message.value or b"") | {field: value}
    with pytest.raises(DecodeError, match=field):
        decode(record_of(Message(message.topic, message.key, json.dumps(changed).encode(), message.headers)))


def test_ticks_of_a_tenth_of_a_second_are_numbered_from_the_epoch_too() -> None:
    tick = next(event for event in SAMPLES if isinstance(event, Tick))
    assert decode(record_of(encode(Tick(**dict(tick) | {"number": 17_953_531_624})))).number == 17_953_531_624


def test_an_event_on_the_wrong_topic_is_refused() -> None:
    message = encode(INFERENCE)
    wrong = Message("pawl.feedback", message.key, message.value, message.headers)
    with pytest.raises(DecodeError, match="does not belong"):
        decode(record_of(wrong))


def test_a_derived_event_keeps_its_trace_and_its_topic() -> None:
    message = encode(SAMPLES[2], f"00-{'12' * 16}-{'34' * 8}-01")
    assert dict(message.headers)["traceparent"].decode() == f"00-{'12' * 16}-{SAMPLES[2].id.hex[16:]}-01"
    assert message.topic == topic_of(SAMPLES[2]).name
