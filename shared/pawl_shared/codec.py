"""Events to Kafka messages and back: CloudEvents 1.0, Kafka protocol binding, binary content mode (section 3.2).

Attributes are headers with the prefix `ce_`, the value is JSON, and a W3C `traceparent` header carries the trace on.
The trace id of an event is its cause's, so that one trace leads from an answer to the promotion that it brought about;
span ids come from event ids, so that a replay draws the same trace.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC

from pydantic import ValidationError

from pawl_shared.buses.port import Headers, Message, Record
from pawl_shared.errors import DecodeError
from pawl_shared.events import ENVELOPE, EVENT_TYPES, Event
from pawl_shared.topics import BY_NAME, TOPICS, topic_of

CONTENT_TYPE = b"application/json"
_ENVELOPE = tuple((f"ce_{name}", f'{name}":"'.encode()) for name in ("id", "time", "source", "cause"))
_NOT_IN_VALUE = set(ENVELOPE)
# What stands in a JSON string as it is: printable ASCII without backslashes (quotes are counted).
_PLAIN = bytes(code for code in range(0x20, 0x7F) if code != ord("\\"))
# Which event a type's name (as in its header) stands for on a topic.
_CLASSES = {(topic.name, event.TYPE.encode()): event for topic in TOPICS for event in topic.events}


def traceparent(event: Event, parent: str | None = None) -> str:
    """The W3C header of an event: the parent's trace id, or one of its own, and a span id from its own id."""
    trace = parent[3:35] if parent and len(parent) == 55 else event.id.hex
    return f"00-{trace}-{event.id.hex[16:]}-01"


def encode(event: Event, parent_trace: str | None = None) -> Message:
    """An event as a message for its topic."""
    headers: list[tuple[str, bytes]] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(event.id).encode()),
        ("ce_source", event.source.encode()),
        ("ce_type", event.TYPE.encode()),
        ("ce_time", event.time.astimezone(UTC).isoformat().replace("+00:00", "Z").encode()),
        ("ce_subject", event.key.encode("utf-8", "replace")),
        ("content-type", CONTENT_TYPE),
        ("traceparent", traceparent(event, parent_trace).encode()),
    ]
    if event.cause is not None:
        headers.append(("ce_cause", str(event.cause).encode()))
    value = event.model_dump_json(exclude=_NOT_IN_VALUE).encode()
    return Message(topic_of(event).name, event.key.encode("utf-8", "replace"), value, tuple(headers))


def header(headers: Headers, name: str) -> str | None:
    """A header's text, or None. The first wins where a name stands twice.

    Raises:
        DecodeError: it is not UTF-8.
    """
    return _text(first_of_each(headers), name)


def first_of_each(headers: Headers) -> dict[str, bytes]:
    """Headers by their names, without those that have no value."""
    return {name: value for name, value in reversed(headers) if value is not None}


def _text(headers: Mapping[str, bytes], name: str) -> str | None:
    value = headers.get(name)
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"header {name} is not UTF-8") from error


def decode(record: Record) -> Event:
    """The event in a record.

    Raises:
        DecodeError: it is no CloudEvent in binary mode, its type is not known or does not belong on this topic, or a
            field is wrong; the message says which.
    """
    return decode_traced(record, first_of_each(record.headers))[0]


def decode_traced(record: Record, headers: Mapping[str, bytes]) -> tuple[Event, str | None]:
    """The event in a record, and the trace that it belongs to; `headers` are its own, by first_of_each().

    Raises DecodeError, as decode() does.
    """
    cls = _class(record.topic, headers)
    if record.value is None:
        raise DecodeError("the value is empty")
    content_type = headers.get("content-type", CONTENT_TYPE)
    if content_type != CONTENT_TYPE and content_type:
        named = _text(headers, "content-type") or ""
        if not named.lower().startswith("application/json"):
            raise DecodeError(f"content-type is {named[:100]!r}; this reads application/json")
    trace = headers.get("traceparent")
    return _validate(cls, record.value, headers), None if trace is None else _text(headers, "traceparent")


def _class(topic: str, headers: Mapping[str, bytes]) -> type[Event]:
    """The event's class by its headers. Raises DecodeError."""
    kind = headers.get("ce_type", b"")
    known = _CLASSES.get((topic, kind)) if headers.get("ce_specversion") == b"1.0" else None
    return known or _class_slowly(topic, headers)


def _class_slowly(topic: str, headers: Mapping[str, bytes]) -> type[Event]:
    kind = _text(headers, "ce_type")
    if kind is None:
        raise DecodeError("no ce_type header: not a CloudEvent in binary mode")
    if headers.get("ce_specversion") != b"1.0":
        raise DecodeError(f"ce_specversion is {_text(headers, 'ce_specversion')!r}; this reads 1.0")
    cls = EVENT_TYPES.get(kind)
    if cls is None:
        raise DecodeError(f"unknown event type {kind[:100]!r}: a newer version of Pawl may have sent it")
    if topic in BY_NAME:
        raise DecodeError(f"{kind} does not belong on {topic}")
    return cls  # on a topic that is not ours


def _validate(cls: type[Event], value: bytes, headers: Mapping[str, bytes]) -> Event:
    fields = [name + headers[key] for key, name in _ENVELOPE if key in headers]
    envelope = b'","'.join(fields)
    plain = envelope.count(b'"') == 4 * len(fields) - 2 and not envelope.translate(None, _PLAIN)
    if plain and value[:1] == b"{" and value[-1:] == b"}":
        # Nearly every event passes here, at a third of the time: one parse of the value with the envelope as its last
        # fields (the last of two fields with one name wins). What fails is looked at again, for its reason.
        try:
            return cls.model_validate_json(b'%b,"%b"}' % (value[:-1], envelope))
        except ValidationError:
            pass
    attributes = {key[3:]: _text(headers, key) for key, _ in _ENVELOPE if key in headers}
    return _validate_slowly(cls, value, attributes)


def _validate_slowly(cls: type[Event], value: bytes, attributes: Mapping[str, str | None]) -> Event:
    try:
        data = json.loads(value)
        # Half a surrogate pair passes as far as here, and would fail whoever writes the text down.
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DecodeError("a text holds half a surrogate pair, which is not Unicode") from error
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the value is not JSON: {str(error)[:200]}") from error
    if not isinstance(data, dict):
        raise DecodeError("the value is not a JSON object")
    try:
        return cls.model_validate({**data, **attributes})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "event"
        raise DecodeError(f"{where}: {first['msg']}"[:500]) from error


def event_type(record: Record) -> str | None:
    """The type in a record's headers, for what cannot be decoded further."""
    try:
        return header(record.headers, "ce_type")
    except DecodeError:
        return None
