"""Identities: time-ordered ids for what begins, derived ids for what follows from it.

An event that is caused by another has id = uuid5(cause, kind). Publishing it again therefore changes nothing: whoever
reads it has seen the id before.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from random import Random
from uuid import UUID, uuid5


def uuid7(now: datetime, rng: Random) -> UUID:
    """A time-ordered id (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = int(now.timestamp() * 1000) & ((1 << 48) - 1)
    value = milliseconds << 80 | 0x7 << 76 | rng.getrandbits(12) << 64 | 0b10 << 62 | rng.getrandbits(62)
    return UUID(int=value)


def derived_id(cause: UUID, kind: str) -> UUID:
    """The id of the `kind` of event that `cause` brings about (RFC 9562, section 5.5)."""
    return uuid5(cause, kind)


def subject_of(key: bytes, user: str) -> str:
    """A keyed hash of the app's user id, 128 bits in hex; the id itself never leaves the edge."""
    return hmac.new(key, user.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]


def uniform(*parts: str | UUID) -> float:
    """A number in [0, 1) that depends on `parts` alone, so that a replay draws it again (SHA-256, 53 bits)."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)


def is_challenger(canary: UUID, session: str, share: float) -> bool:
    """Whether a session meets the challenger. Drawn per session: arms that stick to a user break the canary's guarantee
    (19-23 % false promotions measured instead of 1 %)."""
    return uniform(canary, session) < share


def arm_of(experiment: UUID, session: str, shares: Sequence[float]) -> int | None:
    """The number of the arm that a session meets, drawn per session like a challenger; None: it is outside, in what the
    shares leave over."""
    drawn, total = uniform(experiment, session), 0.0
    for number, share in enumerate(shares):
        total += share
        if drawn < total:
            return number
    # Shares such as three thirds add up to 1 only nearly.
    return len(shares) - 1 if total > 1 - 1e-9 else None
