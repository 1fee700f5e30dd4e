"""Kinds of prompts that need no names: where a prompt's sketch points to.

The signs of its first two numbers are two random hyperplanes (Charikar, "Similarity estimation techniques from rounding
algorithms", STOC 2002).
"""

from __future__ import annotations

from base64 import b64decode

SLICES = ("A", "B", "C", "D")


def slice_of(sketch: str) -> str | None:
    """The slice of a prompt; None where it has no sketch."""
    if not sketch:
        return None
    first, second = b64decode(sketch[:4])[:2]
    return SLICES[2 * (first > 127) + (second > 127)]
