"""A message as bytes, where it waits for the broker on disk: inference's journal, the outbox of the DuckDB store.

A line of JSON with its topic, key and headers, then its value as it is: a value in base64 would take a third more.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

from pawl_shared.buses.port import Message

_to_json = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps() would make an encoder each time


def pack(message: Message) -> bytes:
    """A key or a value that is missing is not the same as an empty one."""
    head = {
        "topic": message.topic,
        "key": None if message.key is None else b64encode(message.key).decode(),
        "headers": [[name, b64encode(value).decode()] for name, value in message.headers],
    }
    if message.value is None:
        head["value"] = None
    return _to_json(head).encode() + b"\n" + (message.value or b"")


def unpack(packed: bytes) -> Message:
    """The message that was packed."""
    line, _, value = packed.partition(b"\n")
    head = json.loads(line)
    headers = tuple((name, b64decode(content)) for name, content in head["headers"])
    key = None if head["key"] is None else b64decode(head["key"])
    return Message(head["topic"], key, None if "value" in head else value, headers)
