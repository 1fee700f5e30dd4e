"""Signatures of webhooks by the Standard Webhooks specification 1.0, symmetric scheme `v1` (standardwebhooks.com).

HMAC-SHA256 over `id.timestamp.body` with a shared secret, which is written as `whsec_` and its base64. Libraries that
verify it exist for many languages; docs/alerts.md shows how it is done without one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64  # bytes, as the specification wants
ADVICE = "make one as docs/alerts.md says: whsec_ and the base64 of 32 random bytes"


def secret_of(text: str) -> bytes:
    """The secret's bytes. Raises ValueError that says how to make one."""
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"it is not base64; {ADVICE}") from error
    if not SHORTEST <= len(secret) <= LONGEST:
        raise ValueError(f"it has {len(secret)} bytes, and {SHORTEST} to {LONGEST} are needed; {ADVICE}")
    return secret


def signed_headers(secret: bytes, identity: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a message. `timestamp`: seconds since the epoch."""
    content = f"{identity}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
    return {"webhook-id": identity, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{signature}"}
