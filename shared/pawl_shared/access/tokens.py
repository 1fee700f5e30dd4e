"""Feedback tokens: a signed statement of who may rate which answer until when.

The edge keeps no table of its answers, so a token carries all that a FeedbackReceived needs: the inference id and
choice, the model, the session and the subject. Form: `v1.KEY_ID.PAYLOAD.MAC`, base64url without padding, where MAC is
HMAC-SHA256 (RFC 2104) over everything before it. Keys have ids, so that a new one can sign while the old one still
verifies.

The same keys mark feedback that the edge has checked: anybody may write to pawl.feedback, nobody else can mark it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from pawl_shared import secret_files
from pawl_shared.buses.port import Headers, Message, Record
from pawl_shared.codec import header
from pawl_shared.settings import TokenSettings

MAX_TOKEN_CHARACTERS = 4096
MARK_HEADER = "pawl-mark"
_PREFIX = "v1"
# What a mark vouches for, besides the value.
_MARKED = ("ce_id", "ce_time", "ce_source", "ce_type", "ce_cause")


class TokenError(ValueError):
    """A token that gives no right to rate: forged, damaged, expired, or for another answer."""


@dataclass(frozen=True)
class Grant:
    """What a token says: this answer may be rated until `expires`."""

    inference_id: UUID
    choice: int
    model: str
    session: str
    subject: str | None
    expires: datetime


@dataclass(frozen=True)
class KeyRing:
    """The key that signs, and all that verify, by id."""

    signing: str
    keys: Mapping[str, bytes]

    @staticmethod
    def of(current: bytes, *previous: bytes) -> KeyRing:
        """A ring that signs with `current` and still accepts what `previous` keys signed."""
        return KeyRing(key_id(current), {key_id(key): key for key in (current, *previous)})


def key_ring(settings: TokenSettings) -> KeyRing:
    """The ring that the settings name; without a key in them, the one that is made once in the data folder.

    Raises:
        ConfigurationError: a key is not hex, or too short.
    """
    path = settings.data_dir / "keys" / "feedback-token.key"
    current = secret_files.given_or_made(settings.token_key, path, "PAWL_TOKEN_KEY")
    texts = (key.get_secret_value() for key in settings.token_previous_keys)
    previous = (secret_files.from_hex(text, "PAWL_TOKEN_PREVIOUS_KEYS") for text in texts)
    return KeyRing.of(current, *previous)


def key_id(key: bytes) -> str:
    """A short public name of a key: 8 hex digits of its SHA-256."""
    return hashlib.sha256(key).hexdigest()[:8]


def sign(ring: KeyRing, grant: Grant) -> str:
    """The token of a grant; its expiry is kept in whole seconds."""
    fields = [
        grant.inference_id.hex,
        grant.choice,
        grant.model,
        grant.session,
        grant.subject,
        int(grant.expires.timestamp()),
    ]
    payload = _encode(json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass"))
    body = f"{_PREFIX}.{ring.signing}.{payload}"
    return f"{body}.{_encode(_mac(ring.keys[ring.signing], body))}"


def verify(ring: KeyRing, token: str, now: datetime) -> Grant:
    """The grant in a token. Raises TokenError when it is forged, damaged or expired."""
    parts = token.split(".")
    if len(token) > MAX_TOKEN_CHARACTERS or len(parts) != 4 or parts[0] != _PREFIX:
        raise TokenError("this is not a feedback token; send the one that came with the answer")
    key = ring.keys.get(parts[1])
    expected = _encode(_mac(key or b"", ".".join(parts[:3])))
    # Compared as bytes: compare_digest takes no non-ASCII text. Constant time, whether or not the key is known.
    if not hmac.compare_digest(expected.encode(), parts[3].encode("utf-8", "surrogatepass")) or key is None:
        raise TokenError("the feedback token's signature is wrong; send the one that came with the answer")
    grant = _grant(parts[2])
    if now >= grant.expires:
        raise TokenError(f"the feedback token expired at {grant.expires.isoformat()}")
    return grant


def mark(ring: KeyRing, message: Message) -> Message:
    """The message with a header that says: its token was checked. To be done last, as it covers the value's bytes."""
    content = _marked_content(message.headers, message.value)
    text = f"{_PREFIX}.{ring.signing}.{_encode(_digest(ring.keys[ring.signing], content))}"
    return replace(message, headers=(*message.headers, (MARK_HEADER, text.encode())))


def is_marked(ring: KeyRing, record: Record) -> bool:
    """Whether a record carries our mark. Raises DecodeError when a header is not UTF-8."""
    parts = (header(record.headers, MARK_HEADER) or "").split(".")
    if len(parts) != 3 or parts[0] != _PREFIX or parts[1] not in ring.keys:
        return False
    expected = _encode(_digest(ring.keys[parts[1]], _marked_content(record.headers, record.value)))
    return hmac.compare_digest(expected.encode(), parts[2].encode("utf-8", "surrogatepass"))


def _marked_content(headers: Headers, value: bytes | None) -> bytes:
    """Unambiguous: a list in JSON ends before the value begins. The name in it keeps marks from being tokens."""
    attributes = json.dumps([MARK_HEADER, *(header(headers, name) for name in _MARKED)])
    return attributes.encode() + b"\n" + (value or b"")


def _grant(payload: str) -> Grant:
    try:
        inference_id, choice, model, session, subject, expires = json.loads(_decode(payload))
        return Grant(UUID(inference_id), choice, model, session, subject, datetime.fromtimestamp(expires, UTC))
    except (ValueError, TypeError, AttributeError, binascii.Error) as error:
        raise TokenError("the feedback token cannot be read") from error


def _mac(key: bytes, body: str) -> bytes:
    return _digest(key, body.encode("utf-8", "surrogatepass"))


def _digest(key: bytes, content: bytes) -> bytes:
    return hmac.new(key, content, hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> str:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8", "surrogatepass")
