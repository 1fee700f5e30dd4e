"""Writes docs/asyncapi.yaml from topics.py and events/: `python -m pawl_shared.asyncapi > docs/asyncapi.yaml`."""

from __future__ import annotations

import sys
from typing import Any

from pawl_shared.events import ENVELOPE, EVENT_TYPES, Event
from pawl_shared.topics import TOPICS, Topic

HEADERS = {
    "ce_specversion": "always 1.0",
    "ce_id": "UUID; the same for a copy of the same event",
    "ce_type": "the event's type and version",
    "ce_source": "the service instance that published it",
    "ce_time": "RFC 3339, UTC; a derived event bears its cause's time",
    "ce_subject": "the record's key",
    "ce_cause": "id of the event that brought this one about (optional)",
    "content-type": "application/json",
    "traceparent": "W3C trace context",
}


def document() -> dict[str, Any]:
    """The AsyncAPI 3.0 document of all topics."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Pawl",
            "version": "1",
            "description": "Generated from topics.py and events/. CloudEvents 1.0, Kafka binding, binary mode.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS if not topic.internal},
        "operations": {topic.name: _operation(topic) for topic in TOPICS if not topic.internal},
        "components": {
            "messages": {event.__name__: _message(event) for event in EVENT_TYPES.values()},
            "schemas": _schemas(),
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "description": topic.prose,
        "messages": {e.__name__: {"$ref": f"#/components/messages/{e.__name__}"} for e in topic.events},
        "bindings": {"kafka": {"topic": topic.name, "partitions": topic.partitions, "bindingVersion": "0.5.0"}},
    }


def _operation(topic: Topic) -> dict[str, Any]:
    return {"action": "send", "channel": {"$ref": "#/channels/" + topic.name}}


def _message(event: type[Event]) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": text} for name, text in HEADERS.items()}
    properties["ce_type"]["const"] = event.TYPE
    return {
        "name": event.TYPE,
        "summary": (event.__doc__ or event.__name__).strip().split("\n")[0],
        "headers": {"type": "object", "properties": properties, "required": [n for n in HEADERS if n != "ce_cause"]},
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": event.KEY}, "bindingVersion": "0.5.0"}},
    }


def _schemas() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for event in EVENT_TYPES.values():
        schema = event.model_json_schema(ref_template="#/components/schemas/{model}")
        found |= schema.pop("$defs", {})
        schema["properties"] = {k: v for k, v in schema["properties"].items() if k not in ENVELOPE}
        schema["required"] = [name for name in schema.get("required", []) if name not in ENVELOPE]
        found[event.__name__] = schema
    return dict(sorted(found.items()))


def main() -> None:
    """Write the document to standard output."""
    import yaml  # a development tool: what runs never needs it

    sys.stdout.write(yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=120))


if __name__ == "__main__":
    main()
