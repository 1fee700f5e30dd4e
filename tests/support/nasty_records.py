"""Nasty records and what comes of each: the one list behind test_nasty_input.py and docs/nasty-input.md."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import NAMESPACE_OID, uuid5

from support.monitor import MODEL, START, interaction

from pawl_shared import events as e
from pawl_shared.buses.port import Headers, Message
from pawl_shared.codec import encode
from pawl_shared.topics import topic_of

# The consumers, by a topic of each that is all that they have in common: events with ids, counts and times.
MONITOR, VALIDATOR, TRAINER, STREAMS, FOLLOWER = "monitor", "validator", "trainer", "streams", "inference"
CONSUMERS = (MONITOR, VALIDATOR, TRAINER, STREAMS, FOLLOWER)
DEAD, HANDLED = "dead letter", "handled"


def sample(consumer: str, number: int = 1, time: datetime = START) -> e.Event:
    """An event that a consumer handles."""
    identity = uuid5(NAMESPACE_OID, f"{consumer} {number}")
    common = {"id": identity, "time": time, "source": "test", "model": MODEL}
    match consumer:
        case "monitor":
            return interaction(number, time)[0]
        case "validator":
            return e.RegisterModelCommand(**common, who="op", base="b" * 64)
        case "trainer":
            return e.TrainingFailed(**common, run=identity, reason="r")
        case "streams":
            return interaction(number, time)[0].inference or common  # type: ignore[return-value]
        case _:
            served = e.DeployedVersion(version="b" * 64, base="b" * 64, graph="d" * 64)
            return e.DeploymentChanged(**common, revision=number, champion=served, change="registered")


@dataclass(frozen=True)
class Case:
    """`make` gives the records from an event that a consumer would handle."""

    input: str
    outcome: str
    reason: str  # a part of the dead letter's
    why: str
    make: Callable[[e.Event], Sequence[Message]]
    consumers: tuple[str, ...] = CONSUMERS


def changed(event: e.Event, value: bytes | None = None, headers: Headers | None = None, **replaced: bytes) -> Message:
    """The event's message with another value, other headers, or other values of some headers."""
    good = encode(event)
    kept = tuple((name, replaced.pop(name.replace("-", "_"), content)) for name, content in good.headers)
    return Message(good.topic, good.key, value or good.value, headers if headers is not None else kept)


def fields(event: e.Event, **values: object) -> Message:
    return changed(event, json.dumps(json.loads(encode(event).value or b"{}") | values).encode())


def raw(event: e.Event, name: str, text: bytes) -> Message:
    """With a field whose value is written as it is."""
    return changed(event, (encode(event).value or b"")[:-1] + b',"%s":%s}' % (name.encode(), text))


def at(event: e.Event, shift: timedelta) -> Message:
    return encode(event.model_copy(update={"time": event.time + shift}))


COUNT = {e.InteractionScored: "revision", e.DeploymentChanged: "revision", e.InferenceLogged: "prompt_tokens"}
COUNTED = (MONITOR, STREAMS, FOLLOWER)


def count(event: e.Event) -> str:
    return COUNT[type(event)]


NOT_JSON, FIELD = "the value is not JSON", "Input should be"
CASES: tuple[Case, ...] = (
    Case("bytes that are not UTF-8", DEAD, NOT_JSON, "nobody can read them", lambda x: [changed(x, b"\xff\xfe\x00")]),
    Case(
        "10,000 levels of nesting",
        DEAD,
        NOT_JSON,
        "a parser's stack is finite",
        lambda x: [changed(x, b'{"a":' * 10_000 + b"1" + b"}" * 10_000)],
    ),
    Case(
        "no value (a tombstone)",
        DEAD,
        "the value is empty",
        "only compacted topics delete by it",
        lambda x: [Message(topic_of(x).name, b"k", None, encode(x).headers)],
    ),
    Case(
        "JSON that is no object",
        DEAD,
        "not a JSON object",
        "fields have names",
        lambda x: [changed(x, b"[1]"), changed(x, b"null")],
    ),
    Case(
        "no headers at all", DEAD, "no ce_type header", "an event says what it is", lambda x: [changed(x, headers=())]
    ),
    Case(
        "an event of a future version",
        DEAD,
        "newer version of Pawl",
        "kept, so that `pawl dead-letters retry` brings it back after the update",
        lambda x: [changed(x, ce_type=x.TYPE.replace(".v1", ".v9").encode())],
    ),
    Case(
        "a known event with fields of a future version",
        HANDLED,
        "",
        "changes are additive: what is not known is ignored",
        lambda x: [fields(x, invented_later={"a": [1]})],
    ),
    Case(
        "an event on a topic where it does not belong",
        DEAD,
        "does not belong",
        "order and keys hold on its own topic only",
        lambda x: [
            changed(x, ce_type=b"pawl.tick.v1" if topic_of(x).name != "pawl.evidence" else b"pawl.drift.detected.v1")
        ],
    ),
    Case(
        "CloudEvents 2.0",
        DEAD,
        "this reads 1.0",
        "its attributes may mean something else",
        lambda x: [changed(x, ce_specversion=b"2.0")],
    ),
    Case(
        "another content type",
        DEAD,
        "this reads application/json",
        "Avro is not JSON",
        lambda x: [changed(x, content_type=b"avro/binary")],
    ),
    Case("a header that is not UTF-8", DEAD, "not UTF-8", "ids are text", lambda x: [changed(x, ce_id=b"\xff\xff")]),
    Case(
        "an id that is none",
        DEAD,
        "id",
        "duplicates are found by it",
        lambda x: [changed(x, ce_id=b"one"), changed(x, ce_id=b"")],
    ),
    Case(
        "a time without a zone, or none at all",
        DEAD,
        "time",
        "whose noon would it be?",
        lambda x: [changed(x, ce_time=t) for t in (b"2026-01-01T00:00:00", b"yesterday", b"", b"1e999")],
    ),
    Case(
        "a time before year 1 or after 9999 in UTC",
        DEAD,
        "time",
        "no calendar holds it",
        lambda x: [changed(x, ce_time=t) for t in (b"9999-12-31T23:59:59-12:00", b"0001-01-01T00:00:00+12:00")],
    ),
    Case(
        "NaN, Infinity or 1e999 as a count",
        DEAD,
        "",
        "no number of anything",
        lambda x: [raw(x, count(x), t) for t in (b"NaN", b"Infinity", b"1e999")],
        COUNTED,
    ),
    Case(
        "a negative count",
        DEAD,
        "greater than or equal to",
        "counts begin at 0 or 1",
        lambda x: [fields(x, **{count(x): -1})],
        COUNTED,
    ),
    Case(
        "a count with 30 digits, or with 5,000",
        DEAD,
        "",
        "no column holds it: a store that fails would hold up all that follows",
        lambda x: [raw(x, count(x), b"9" * n) for n in (30, 5_000)],
        COUNTED,
    ),
    Case(
        "half a surrogate pair in a text", DEAD, "", "no database holds it", lambda x: [raw(x, "model", b'"\\ud800"')]
    ),
    Case(
        "NUL in a text",
        HANDLED,
        "",
        "a character like any other",
        lambda x: [fields(x, model="default/a\0b")],
        (MONITOR, STREAMS, TRAINER),
    ),
    Case("a field twice", HANDLED, "", "the last one counts", lambda x: [raw(x, "model", json.dumps(MODEL).encode())]),
    Case(
        "fields of the wrong type",
        DEAD,
        "",
        "a guess would be worse",
        lambda x: [fields(x, model=5), fields(x, model=None), fields(x, model=["m"])],
    ),
    Case(
        "1,000 headers beside those that count",
        HANDLED,
        "",
        "they are not looked at",
        lambda x: [changed(x, headers=(*encode(x).headers, *((f"x-{n}", b"1") for n in range(1_000))))],
    ),
    Case(
        "a header of 500 KB",
        HANDLED,
        "",
        "it is not looked at",
        lambda x: [changed(x, headers=(*encode(x).headers, ("x", b"x" * 500_000)))],
    ),
    Case(
        "1,000 headers on what nobody can read",
        DEAD,
        "no ce_type",
        "the dead letter keeps 32 of them and says that it is incomplete",
        lambda x: [changed(x, headers=tuple((f"x-{n}", b"1" * 900) for n in range(1_000)))],
    ),
    Case(
        "900 KB that nobody can read",
        DEAD,
        NOT_JSON,
        "the dead letter keeps 64 KiB; a retry takes the rest from the topic",
        lambda x: [changed(x, b"x" * 900_000)],
    ),
    Case(
        "a clock that is 10 days fast, or slow",
        HANDLED,
        "",
        "`now` is the broker's time, not the sender's",
        lambda x: [
            at(x, timedelta(days=10)),
            at(x.model_copy(update={"id": uuid5(x.id, "slow")}), timedelta(days=-10)),
        ],
    ),
    Case("one event 200 times", HANDLED, "", "its id is known after the first", lambda x: [encode(x)] * 200),
    Case(
        "a topic from its beginning once more",
        HANDLED,
        "",
        "every id is known",
        lambda x: [encode(x), *(encode(sample(MONITOR, n, x.time)) for n in (2, 3)), encode(x)],
        (MONITOR,),
    ),
    Case(
        "deployments out of order",
        HANDLED,
        "",
        "the greatest revision counts",
        lambda x: [encode(sample(FOLLOWER, n, x.time)) for n in (3, 1, 2)],
        (FOLLOWER,),
    ),
)
