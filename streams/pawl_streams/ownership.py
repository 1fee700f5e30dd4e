"""Whose states of a partition count when it moves from one worker to another, and what its new owner tells again. Pure.

A worker that hangs for longer than the group waits (10 s) loses its partitions. When it goes on, it finishes its batch
before it hears of that, and its states, made without what the new owner has done meanwhile, stand last in the
changelog: whoever restores the table from there forgets all the new owner's statements about those answers.

So every state carries its writer's epoch: one more than the greatest that the writer found in its partition's
changelog or the generation of the consumer group, whichever is greater, so that two writers that found the same have
different ones; then the generation, for a group that has begun to count again. A restored state is replaced only by one
of the same epoch or a later one.

What a worker has published cannot be taken back. Beside its states it keeps how far it has come in either topic, so
that a new owner knows which records may have been in its hands: those behind, as many as a batch has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pawl_shared.buses.port import Record

EPOCH = "epoch"
AT = "at"
# An answer's revision rises by 2 at most with a record, so that within a batch of 500 none reaches the next epoch's.
REVISIONS = 1024
MOST = 2**30  # the field has 31 bits
Look = Callable[[str], Mapping[str, Any] | None]


def place_key(partition: int) -> str:
    """The state that says how far the records of a partition were handled: the last offset, by topic."""
    return f"handled/{partition}"


def handled(record: Record, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """That state after one more record."""
    return {"partition": record.partition, AT: {**(before or {}).get(AT, {}), record.topic: record.offset}}


def floor(taken: Sequence[int]) -> int:
    """Below the revisions that tell of a record which another worker may have had in its hands, and above all of that
    one's, which would hide what is learnt afterwards."""
    return min(taken[0] * REVISIONS, MOST) if taken else 0


class Ownership:
    """What one worker knows of its partitions' owners, itself among them.

    batch: how many records a worker has in its hands at most.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._greatest: dict[int, int] = defaultdict(int)
        self._own: dict[int, list[int]] = {}
        self._overruled: dict[int, set[str]] = defaultdict(set)
        self._until: dict[tuple[str, int], tuple[list[int], int]] = {}  # an epoch, and where its first records end

    def epoch(self, partition: int, generation: int) -> list[int]:
        """Of what this worker writes to a partition, from one rebalance to the next."""
        if partition not in self._own or self._own[partition][1] != generation:
            self._own[partition] = [max(self._greatest[partition] + 1, generation), generation]
        return self._own[partition]

    def counts(self, partition: int, key: str, epoch: Sequence[int], known: Sequence[int]) -> bool:
        """Whether a state of this epoch, found in the changelog, replaces one of the epoch `known`."""
        self._greatest[partition] = max(self._greatest[partition], epoch[0])
        if list(epoch) < list(known):
            self._overruled[partition].add(key)
            return False
        self._overruled[partition].discard(key)
        return True

    def overruled(self, partition: int) -> set[str]:
        """Keys whose last state in the changelog does not count: the right one has to be written behind it, since
        compaction would keep the last."""
        return self._overruled.pop(partition, set())

    def taken(self, record: Record, generation: int, look: Look) -> Sequence[int]:
        """The epoch, for records that the partition's last worker may have had in its hands; else nothing."""
        epoch, place = self.epoch(record.partition, generation), (record.topic, record.partition)
        if self._until.get(place, ([], 0))[0] != epoch:
            last = (look(place_key(record.partition)) or {}).get(AT, {}).get(record.topic, -1)
            self._until[place] = epoch, max(record.offset, last + 1) + self._batch
        taken_over = epoch[0] > 1  # else there was nobody before
        return epoch if taken_over and record.offset < self._until[place][1] else ()
