"""Counts the feedback that a data set would hold, for the trigger and for the console that shows what it waits for.

What a piece of feedback comes to takes its texts (a correction may change nothing; a prompt decides the split), and all
of it is counted again every second while an alarm is open. So what was opened once is remembered as what it came to.
"""

from __future__ import annotations

import threading
from datetime import datetime
from uuid import UUID

from pawl_monitor.domain.trigger_state import Usable
from pawl_monitor.storage import datasets
from pawl_monitor.storage.reader import Reader
from pawl_monitor.storage.texts import Texts

COUNTED = ("kind", "label", "finished", "split")
_Line = tuple[object, ...]


class Counting:
    """One for all threads. A text that is erased after it was counted stays in the count until the next start; what is
    frozen into a data set is collected anew."""

    def __init__(self, reader: Reader, texts: Texts) -> None:
        self._reader, self._texts = reader, texts
        self._lock = threading.Lock()
        self._known: dict[tuple[str, float], dict[UUID, _Line | None]] = {}

    def usable(self, request: datasets.Request) -> Usable:
        """What a data set for this request would hold.

        Raises:
            KeysUnreadableError: the keys of texts that are new cannot be read now.
        """
        key = request.model, request.heldout_share
        with self._lock:
            self._known[key] = known = self._up_to_date(request, self._known.get(key, {}))
        return datasets.usable([dict(zip(COUNTED, line, strict=True)) for line in known.values() if line is not None])

    def times(self, request: datasets.Request) -> list[tuple[datetime, str]]:
        """When each piece was given, and the field of Usable in which it counts. Raises KeysUnreadableError."""
        with self._reader.cursors.snapshot() as cursor:
            lines = datasets.collect(cursor, request, self._texts)
        return [(line["time"], name) for line in lines if (name := datasets.counted_as(line))]

    def _up_to_date(self, request: datasets.Request, before: dict[UUID, _Line | None]) -> dict[UUID, _Line | None]:
        with self._reader.cursors.snapshot() as cursor:
            ids = datasets.wanted(cursor, request)
            new = [identity for identity in ids if identity not in before]
            lines = datasets.collect_some(cursor, request, self._texts, new) if new else []
        found = {UUID(line["feedback_ids"][0]): tuple(line[name] for name in COUNTED) for line in lines}
        return {identity: before.get(identity, found.get(identity)) for identity in ids}
