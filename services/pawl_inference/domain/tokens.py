"""Feedback tokens: a signed statement of who may rate which answer until when.

The edge keeps no table of its answers, so a token carries all that a FeedbackReceived needs: the inference id and
choice, the model, the session and the subject. Form: `v1.KEY_ID.PAYLOAD.MAC`, base64url without padding, where MAC is
HMAC-SHA256 (RFC 2104) over everything before it. Keys have ids, so that a new one can sign while the old one still
verifies.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

MAX_TOKEN_CHARACTERS = 4096
_PREFIX = "v1"


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


def _grant(payload: str) -> Grant:
    try:
        inference_id, choice, model, session, subject, expires = json.loads(_decode(payload))
        return Grant(UUID(inference_id), choice, model, session, subject, datetime.fromtimestamp(expires, UTC))
    except (ValueError, TypeError, AttributeError, binascii.Error) as error:
        raise TokenError("the feedback token cannot be read") from error


def _mac(key: bytes, body: str) -> bytes:
    return hmac.new(key, body.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> str:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8", "surrogatepass")
