"""A Faust table whose changelog tells the owner of a partition from a worker that only believes to be it.

A worker that hangs for longer than the group waits (10 s) loses its partitions. When it goes on, it finishes its batch
before it hears of that, and its states, made without what the new owner has done meanwhile, stand last in the
changelog: whoever restores the table from there forgets all the new owner's statements about those answers.

So every state carries its writer's epoch: one more than the greatest that the writer found in its partition's
changelog, then the generation of the consumer group, which decides between two writers that found the same. A restored
state is replaced only by one of the same epoch or a later one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import faust

EPOCH = "epoch"


class FencedTable(faust.Table):  # type: ignore[misc]
    """A table of dictionaries; `epoch` is what to write into each."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._greatest: dict[int, int] = defaultdict(int)
        self._own: dict[int, list[int]] = {}
        self._overruled: dict[int, set[str]] = defaultdict(set)

    def epoch(self, partition: int) -> list[int]:
        """Of what this worker writes to a partition, from one rebalance to the next."""
        generation = self.app.consumer_generation_id
        if partition not in self._own or self._own[partition][1] != generation:
            self._own[partition] = [self._greatest[partition] + 1, generation]
        return self._own[partition]

    def overruled(self, partition: int) -> set[str]:
        """Keys whose last state in the changelog does not count: the right one has to be written behind it, since
        compaction would keep the last."""
        return self._overruled.pop(partition, set())

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Restore states."""
        found: dict[str, list[int]] = {}
        super().apply_changelog_batch([event for event in batch if self._counts(event, found)])

    def _counts(self, event: Any, found: dict[str, list[int]]) -> bool:
        """Whether nothing of a later epoch is known; `found` has the epochs of the batch so far."""
        if event.message.value is None:
            return True
        key, partition = event.key, event.message.partition
        epoch = event.value.get(EPOCH, [0, 0])
        self._greatest[partition] = max(self._greatest[partition], epoch[0])
        known = found.get(key) or (self.data.get(key) or {}).get(EPOCH, [0, 0])
        if epoch < known:
            self._overruled[partition].add(key)
            return False
        found[key] = epoch
        self._overruled[partition].discard(key)
        return True
