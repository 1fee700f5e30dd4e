"""What could not be read or handled, with its reason: bounded in size, so that one bad record cannot hurt twice.

A dead letter can be tried again: its record is published once more on its topic, with two headers that say which letter
it came from and which attempt this is. When it fails again, the new letter links to the old one. Whoever had read the
event before knows its id, so a retry doubles nothing.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from uuid import NAMESPACE_OID, UUID, uuid5

from pawl_shared.buses.port import Headers, Message, Record
from pawl_shared.errors import DeadLetterError
from pawl_shared.events import DeadLetter

MAX_KEY = 1 << 10
MAX_VALUE = 64 << 10
MAX_HEADERS = 32
MAX_HEADER = 1 << 10
MAX_HEADER_NAME = 200

RETRY_OF, ATTEMPT = "pawl-retry-of", "pawl-attempt"
MARKS = frozenset({RETRY_OF, ATTEMPT})
# Anyone may write headers: a number beyond this is not one of ours.
MAX_ATTEMPT = 1_000_000


def dead_letter(record: Record, service: str, source: str, reason: str) -> DeadLetter:
    """The event for one record; its id comes from the record's place, so that reading it again changes nothing."""
    key, value = record.key or b"", record.value or b""
    headers = _without_marks(record.headers)
    kept = {_name(name): b64encode(content[:MAX_HEADER]).decode() for name, content in headers[:MAX_HEADERS]}
    whole = len(kept) == len(headers) and all(
        _name(name) == name and len(content) <= MAX_HEADER for name, content in headers
    )
    retry_of, attempt = retry_marks(record.headers)
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
        record_headers=kept,
        nulls=tuple(name for name in ("key", "value") if getattr(record, name) is None),
        truncated=len(key) > MAX_KEY or len(value) > MAX_VALUE or not whole,
        retry_of=retry_of,
        attempt=attempt,
    )


def retry_marks(headers: Headers) -> tuple[UUID | None, int]:
    """Which dead letter a record is a retry of (None: of none), and the number of this attempt, from 1."""
    found = {name: content for name, content in reversed(headers) if name in MARKS and content is not None}
    try:
        retry_of, attempt = UUID(found[RETRY_OF].decode()), int(found[ATTEMPT])
    except (KeyError, ValueError):
        return None, 1
    return (retry_of, attempt) if 1 < attempt <= MAX_ATTEMPT else (None, 1)


def is_retry(record: Record) -> bool:
    """Whether a dead letter's record is tried again; cheap, as it is asked of every record."""
    for name, _ in record.headers:  # a generator in any() would cost twice as much
        if name == RETRY_OF:
            return retry_marks(record.headers)[0] is not None
    return False


def original(letter: DeadLetter) -> Message | None:
    """The record as it was, or None when the letter does not hold all of it."""
    if letter.truncated:
        return None
    key = None if "key" in letter.nulls else b64decode(letter.record_key)
    value = None if "value" in letter.nulls else b64decode(letter.record_value)
    headers = tuple((name, b64decode(content)) for name, content in letter.record_headers.items())
    return Message(letter.topic, key, value, headers)


def is_original(record: Record, letter: DeadLetter) -> bool:
    """Whether a letter is about this very record: a topic that was made anew uses its offsets again."""
    place = (record.topic, record.partition, record.offset, record.appended)
    return place == (letter.topic, letter.partition, letter.offset, letter.time)


def retried(message: Message | Record, letter: DeadLetter) -> Message:
    """The record of a letter for another attempt: key, value and headers as they were, and which letter it came from.

    Raises:
        DeadLetterError: it has neither key nor value; no producer sends that.
    """
    if message.key is None and message.value is None:
        raise DeadLetterError(f"dead letter {letter.id} is about a record without key and value: nothing to retry")
    marks = ((RETRY_OF, str(letter.id).encode()), (ATTEMPT, str(min(letter.attempt + 1, MAX_ATTEMPT)).encode()))
    return Message(message.topic, message.key, message.value, (*_without_marks(message.headers), *marks))


def _without_marks(headers: Headers) -> Headers:
    """Headers but for our own marks, and those without a value: they say nothing, and not every producer sends them."""
    return tuple((name, content) for name, content in headers if name not in MARKS and content is not None)


def _name(name: str) -> str:
    return name[:MAX_HEADER_NAME].encode("utf-8", "replace").decode()
