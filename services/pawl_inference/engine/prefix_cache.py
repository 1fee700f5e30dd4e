"""Keys and values of prompt beginnings that were computed before: a system prompt is read once for each version."""

import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pawl_inference.engine.kv_cache import KvCache
from pawl_inference.engine.pieces import Cuts
from pawl_inference.engine.sequence import Sequence


class PrefixCache:
    """Parts of prompts, found by the version that computed them and all tokens up to their end.

    Prompts are cut so (see `pieces`) that what is kept is, bit for bit, what computing it again would give. A key
    begins with the version's digest, not with its slot: a swap cannot bring up another adapter's values. All prompts to
    one version are cut alike. Only the decode thread comes here.

    Args:
        capacity: bytes of keys and values that are kept at most; the least recently used parts go first.
    """

    def __init__(self, cache: KvCache, capacity: int) -> None:
        self._cache, self._on, self._room = cache, capacity > 0, capacity
        self._kept: OrderedDict[bytes, NDArray[Any]] = OrderedDict()
        self._spare: list[NDArray[Any]] = []  # memory of what was dropped last, for one piece at most

    def resume(self, sequence: Sequence, row: int, cuts: Cuts) -> None:
        """Copy the parts that come next in a prompt, as long as they are known. A piece is always left to read.

        Called before every piece, so that of several requests with one beginning only the first computes it.
        """
        while (start := cuts.grain * len(sequence.prefix)) < cuts.reusable(len(sequence.request.prompt)):
            key = self._next_key(sequence, start, cuts.grain)
            kept = self._kept.get(key)
            if kept is None:
                break
            self._cache.write(row, start, kept)
            sequence.cached += max(0, start + cuts.grain - sequence.past)
            sequence.past = max(sequence.past, start + cuts.grain)
            sequence.prefix.append(key)
        self._touch(sequence)

    def keep(self, sequence: Sequence, row: int, cuts: Cuts) -> None:
        """Remember the parts that were just computed."""
        if not self._on:
            return
        while (start := cuts.grain * len(sequence.prefix)) < cuts.keepable(len(sequence.request.prompt), sequence.past):
            key = self._next_key(sequence, start, cuts.grain)
            if key not in self._kept:
                self._kept[key] = part = self._pages(cuts.grain)
                self._cache.read(row, start, part)
                self._room -= part.nbytes
            sequence.prefix.append(key)
        self._touch(sequence)
        while self._room < 0:
            self._spare.append(self._kept.popitem(last=False)[1])
            self._room += self._spare[-1].nbytes
        while sum(part.shape[2] for part in self._spare) > cuts.longest:
            self._spare.pop(0)

    def _pages(self, tokens: int) -> NDArray[Any]:
        """Of a part that was dropped, if one was as long: pages that are new cost 3 µs each, 0.6 ms for 16 tokens of
        SmolLM2-135M."""
        for index, part in enumerate(self._spare):
            if part.shape[2] == tokens:
                return self._spare.pop(index)
        return self._cache.pages(tokens)

    def _next_key(self, sequence: Sequence, start: int, count: int) -> bytes:
        parent = sequence.prefix[-1] if sequence.prefix else sequence.request.version.encode()
        tokens = sequence.request.prompt[start : start + count]
        return hashlib.sha256(parent + np.array(tokens, np.int64).tobytes()).digest()

    def _touch(self, sequence: Sequence) -> None:
        """A part without those before it is useless, so a chain is dropped from its end."""
        for known in reversed(sequence.prefix):
            if known in self._kept:
                self._kept.move_to_end(known)
