"""Which request sits in which row of the cache: decoding rows first, then those whose prompt is being read."""

from pawl_inference.engine.kv_cache import KvCache
from pawl_inference.engine.sequence import Sequence


class Rows:
    """Keeps decoding rows contiguous from row 0, since a batch is one run of rows."""

    def __init__(self, cache: KvCache, capacity: int) -> None:
        self._cache, self.capacity = cache, capacity
        self.members: list[Sequence] = []
        self.decoding = 0
        self._turn = 0

    @property
    def free(self) -> int:
        return self.capacity - len(self.members)

    def decoders(self) -> list[Sequence]:
        """Rows that take part in the next decode step, in row order."""
        return self.members[: self.decoding]

    def add(self, sequence: Sequence) -> None:
        """Seat a new request; its prompt is read next."""
        self.members.append(sequence)

    def next_prompt(self) -> int | None:
        """The row whose prompt gets the next chunk: in turns the oldest one and the one with the least left.

        Short prompts then do not wait behind long ones, and long ones are not starved.
        """
        rows = range(self.decoding, len(self.members))
        if not rows:
            return None
        self._turn += 1
        if self._turn % 2:
            return rows[0]
        return min(rows, key=lambda row: self.members[row].prompt_left)

    def start_decoding(self, row: int) -> None:
        """Let a row whose prompt is read join the batch."""
        self._swap(row, self.decoding)
        self.decoding += 1

    def drop_finished(self) -> list[Sequence]:
        """Remove requests that have ended, and close the gaps; answers which they were."""
        dropped = []
        for row in range(len(self.members) - 1, -1, -1):
            if self.members[row].finished is not None:
                dropped.append(self.members[row])
                self._remove(row)
        return dropped

    def _remove(self, row: int) -> None:
        if row < self.decoding:
            self.decoding -= 1
            self._move(self.decoding, row)
            row = self.decoding
        self._move(len(self.members) - 1, row)
        self.members.pop()

    def _move(self, source: int, target: int) -> None:
        if source != target:
            self.members[target] = self.members[source]
            self._cache.move(source, target, self.members[source].past)

    def _swap(self, first: int, second: int) -> None:
        if first != second:
            members = self.members
            self._cache.swap(first, second, max(members[first].past, members[second].past))
            members[first], members[second] = members[second], members[first]
