"""Keys and values of prompt beginnings that were computed before: a system prompt is read once for each version."""

import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pawl_inference.engine.kv_cache import KvCache
from pawl_inference.engine.sequence import Sequence


class PrefixCache:
    """Whole chunks of prompts, found by the version that computed them and all tokens up to their end.

    Prompts are cut at multiples of `chunk`, so what is kept is, bit for bit, what computing it again would give. A key
    begins with the version's digest, not with its slot: a swap cannot bring up another adapter's values. Only the
    decode thread comes here.

    Args:
        capacity: bytes of keys and values that are kept at most; the least recently used chunks go first.
        chunk: tokens of a chunk.
    """

    def __init__(self, cache: KvCache, capacity: int, chunk: int) -> None:
        self._cache, self._chunk = cache, chunk
        self._room = capacity // (cache.token_bytes * chunk)
        self._kept: OrderedDict[bytes, NDArray[Any]] = OrderedDict()

    def resume(self, sequence: Sequence, row: int) -> None:
        """Copy the chunks that come next in a prompt, as long as they are known. The last token is always left to read.

        Called before every chunk, so that of several requests with one beginning only the first computes it.
        """
        while sequence.prompt_left > self._chunk:
            key = self._next_key(sequence)
            kept = self._kept.get(key)
            if kept is None:
                return
            self._cache.write(row, sequence.past, kept)
            sequence.past += self._chunk
            sequence.cached += self._chunk
            self._extend(sequence, key)

    def keep(self, sequence: Sequence, row: int) -> None:
        """Remember the chunk that was just computed. To be called before `past` moves beyond it."""
        if self._room:
            key = self._next_key(sequence)
            if key not in self._kept:
                self._kept[key] = self._cache.read(row, sequence.past, sequence.past + self._chunk)
            self._extend(sequence, key)
            while len(self._kept) > self._room:
                self._kept.popitem(last=False)

    def _next_key(self, sequence: Sequence) -> bytes:
        parent = sequence.prefix[-1] if sequence.prefix else sequence.request.version.encode()
        tokens = sequence.request.prompt[sequence.past : sequence.past + self._chunk]
        return hashlib.sha256(parent + np.array(tokens, np.int64).tobytes()).digest()

    def _extend(self, sequence: Sequence, key: bytes) -> None:
        """A chunk without those before it is useless, so a chain is dropped from its end."""
        sequence.prefix.append(key)
        for known in reversed(sequence.prefix):
            if known in self._kept:
                self._kept.move_to_end(known)
