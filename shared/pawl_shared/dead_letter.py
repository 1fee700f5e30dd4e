"""What could not be read or handled, with its reason: bounded in size, so that one bad record cannot hurt twice."""

from __future__ import annotations

from base64 import b64encode
from uuid import NAMESPACE_OID, uuid5

from pawl_shared.bus import Record
from pawl_shared.events import DeadLetter

MAX_KEY = 1 << 10
MAX_VALUE = 64 << 10
MAX_HEADERS = 32
MAX_HEADER = 1 << 10


def dead_letter(record: Record, service: str, source: str, reason: str) -> DeadLetter:
    """The event for one record; its id comes from the record's place, so that reading it again changes nothing."""
    key, value = record.key or b"", record.value or b""
    headers = {
        name[:200].encode("utf-8", "replace").decode(): b64encode((content or b"")[:MAX_HEADER]).decode()
        for name, content in record.headers[:MAX_HEADERS]
    }
    return DeadLetter(
        id=uuid5(NAMESPACE_OID, f"{service}/{record.topic}/{record.partition}/{record.offset}/{record.appended}"),
        time=record.appended,
        source=source,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        service=service,
        reason=reason[:2000].encode("utf-8", "replace").decode(),
        record_key=b64encode(key[:MAX_KEY]).decode(),
        record_value=b64encode(value[:MAX_VALUE]).decode(),
        record_headers=headers,
        truncated=len(key) > MAX_KEY or len(value) > MAX_VALUE or len(record.headers) > MAX_HEADERS,
    )
