"""Alerts as their receivers want them: structured CloudEvents 1.0, Slack's incoming webhooks, Alertmanager's API v2."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pawl_monitor.domain.alerts import Alert

Format = Literal["cloudevents", "slack", "alertmanager"]

TYPE = "pawl.alert.v1"
# Alertmanager takes an alert to be over five minutes after its last copy, unless it says when it will be.
UNTIL_RESOLVED = timedelta(days=7)


def body_of(form: Format, alert: Alert, source: str, console: str) -> tuple[str, bytes]:
    """(content type, body). `console`: the console's address."""
    match form:
        case "cloudevents":
            return "application/cloudevents+json", _json(_cloud_event(alert, source, console))
        case "slack":
            return "application/json", _json({"text": _slack(alert, console)})
        case "alertmanager":
            return "application/json", _json([_alertmanager(alert, console)])


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _cloud_event(alert: Alert, source: str, console: str) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(alert.id),
        "source": source,
        "type": TYPE,
        "subject": alert.model,
        "time": _rfc3339(alert.time),
        "datacontenttype": "application/json",
        "data": {**alert.model_dump(mode="json", exclude={"id"}), "console": console},
    }


def _slack(alert: Alert, console: str) -> str:
    mark, state = (":rotating_light:" if alert.severity == "critical" else ":warning:"), ""
    if alert.state == "resolved":
        mark, state = ":white_check_mark:", "Resolved: "
    return f"{mark} *{state}{_escaped(alert.title)}*\n{_escaped(alert.sentence)}\n<{console}|Console>"


def _escaped(text: str) -> str:
    """Slack's three control characters: a sentence must not mention a channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _alertmanager(alert: Alert, console: str) -> dict[str, Any]:
    ends = alert.time if alert.state == "resolved" else alert.began + UNTIL_RESOLVED
    return {
        "labels": {
            "alertname": "Pawl" + "".join(word.capitalize() for word in alert.kind.split("-")),
            "alarm": str(alert.alarm),
            "model": alert.model,
            "severity": alert.severity,
        },
        "annotations": {"summary": alert.title, "description": alert.sentence},
        "startsAt": _rfc3339(alert.began),
        "endsAt": _rfc3339(ends),
        "generatorURL": console,
    }


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
