"""A prompt as 24 small numbers: enough to see that people ask about other things, too few to read what they asked.

Each distinct word is hashed to three of 24 places, with a sign (a sparse random projection of the bag of words: Kane
and Nelson, "Sparser Johnson-Lindenstrauss transforms", JACM 2014; words by their hash: Weinberger et al., "Feature
hashing for large scale multitask learning", ICML 2009). The sum is scaled to length 1, so that long prompts are no
other topic, and written as bytes from -127 to 127 in base64: 32 characters.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import lru_cache
from hashlib import blake2b
from math import sqrt

SIZE = 24
PLACES = 3
SCALE = 254  # a number above half the length is rare, and is cut off
MOST_WORDS = 300
WORD = re.compile(r"\w+")


def sketch(text: str) -> str:
    """The sketch of a prompt; empty where it has no words."""
    words = dict.fromkeys(WORD.findall(text.casefold()))
    sums = [0] * SIZE
    for _, word in zip(range(MOST_WORDS), words, strict=False):
        for place, sign in _places(word):
            sums[place] += sign
    length = sqrt(sum(value * value for value in sums))
    if not length:
        return ""
    numbers = [max(-127, min(127, round(SCALE * value / length))) for value in sums]
    return b64encode(bytes(number & 0xFF for number in numbers)).decode()


@lru_cache(maxsize=1 << 16)
def _places(word: str) -> tuple[tuple[int, int], ...]:
    digest = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=2 * PLACES).digest()
    return tuple((digest[2 * i] % SIZE, 1 if digest[2 * i + 1] & 1 else -1) for i in range(PLACES))
