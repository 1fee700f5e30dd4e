"""Several answers to one prompt: what makes them differ, and yet reproducible."""

from __future__ import annotations

from hashlib import sha256


def seed_of(seed: int, number: int) -> int:
    """The seed of choice `number`. The first one's is the request's own, so that an answer of a request for one is the
    first of a request for several; and whoever sends a choice's logged seed by itself gets that choice."""
    if number == 0:
        return seed
    # 63 bits: the log keeps signed 64-bit numbers
    return int.from_bytes(sha256(f"{seed}/{number}".encode()).digest()[:8], "big") >> 1
