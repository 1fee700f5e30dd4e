"""A Faust table that tells the owner of a partition from a worker that only believes to be it: ownership.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import faust

from pawl_streams.ownership import EPOCH, Ownership

MAX_BATCH = 500


class FencedTable(faust.Table):  # type: ignore[misc]
    """A table of dictionaries; `owned` says what to write into each, and which of those in the changelog count."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.owned = Ownership(MAX_BATCH)

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Restore states."""
        found: dict[str, list[int]] = {}
        super().apply_changelog_batch([event for event in batch if self._counts(event, found)])

    def _counts(self, event: Any, found: dict[str, list[int]]) -> bool:
        """Whether nothing of a later epoch is known; `found` has the epochs of the batch so far."""
        if event.message.value is None:
            return True
        epoch = event.value.get(EPOCH, [0, 0])
        known = found.get(event.key) or (self.data.get(event.key) or {}).get(EPOCH, [0, 0])
        if not self.owned.counts(event.message.partition, event.key, epoch, known):
            return False
        found[event.key] = epoch
        return True
