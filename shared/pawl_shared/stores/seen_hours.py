"""The ids that a store on a compacted topic remembers, by the hour of their events.

A commit writes one record for each hour in it, with all of its ids. Once an hour is over, its records become one, with
the ids in order: 16 bytes an id, in memory and (in base64) on the topic. Hours beyond their time are forgotten.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from pawl_shared.stores.port import Seen

ID_BYTES = 16
PART_IDS = 40_000  # 0.85 MB in base64: below what a record may have
STEP_RECORDS = 2_000  # upkeep beside one commit; but an hour is packed in one
HOUR = timedelta(hours=1)


class Chunk(NamedTuple):
    """Some ids of an hour, one after the other; none: the record of this name goes."""

    hour: datetime
    name: str
    ids: bytes | None


@dataclass
class _Hour:
    parts: dict[str, bytes] = field(default_factory=dict)
    """Packed: in order, without repeats, by the names of their records (0, 1, …)."""
    loose: set[bytes] = field(default_factory=set)
    """As they came, in records that bear the name of their first id."""
    names: set[str] = field(default_factory=set)

    def __contains__(self, identity: bytes) -> bool:
        return identity in self.loose or any(_holds(part, identity) for part in self.parts.values())

    def take(self, name: str, ids: bytes | None) -> None:
        if name.isdecimal() and ids is not None:
            self.parts[name] = ids
        elif name.isdecimal():
            self.parts.pop(name, None)
        elif ids is not None:
            self.names.add(name)
            self.loose.update(_split(ids))
        else:
            self.names.discard(name)
            if not self.names:  # they go together, when they are packed
                self.loose.clear()

    def packed(self) -> list[bytes]:
        every = sorted(self.loose.union(*map(_split, self.parts.values())))
        return [b"".join(every[start : start + PART_IDS]) for start in range(0, len(every), PART_IDS)]


class SeenHours:
    """What was seen. Changes are chunks, for the caller to commit first and to have taken in then.

    Args:
        kept: how old, by its own time, an event's id may become; none: any age.
    """

    def __init__(self, kept: timedelta | None) -> None:
        self._kept = kept
        self._hours: dict[datetime, _Hour] = {}
        self._looked: datetime | None = None

    def __contains__(self, seen: Seen) -> bool:
        return seen.hour in self._hours and seen.id.bytes in self._hours[seen.hour]

    def take(self, chunks: Iterable[Chunk]) -> None:
        """Chunks that are on the topic, in its order."""
        for chunk in chunks:
            hour = self._hours.setdefault(chunk.hour, _Hour())
            hour.take(chunk.name, chunk.ids)
            if not hour.names and not hour.parts:
                del self._hours[chunk.hour]

    def added(self, seen: Iterable[Seen]) -> list[Chunk]:
        """The chunks of a commit with these ids."""
        hours: dict[datetime, list[UUID]] = {}
        for each in seen:
            hours.setdefault(each.hour, []).append(each.id)
        return [Chunk(hour, str(ids[0]), b"".join(each.bytes for each in ids)) for hour, ids in hours.items()]

    def upkeep(self, now: datetime) -> list[Chunk]:
        """What is to be written beside a commit: hours that are over packed, those beyond their time forgotten.

        It looks once an hour, or again at once where one step was not enough.
        """
        present = now.replace(minute=0, second=0, microsecond=0)
        if self._looked == present:
            return []
        chunks: list[Chunk] = []
        for hour in sorted(hour for hour in self._hours if hour < present):
            if len(chunks) >= STEP_RECORDS:
                return chunks
            chunks += self._kept_up(hour, now)
        self._looked = present
        return chunks

    def _kept_up(self, at: datetime, now: datetime) -> Iterator[Chunk]:
        hour = self._hours[at]
        if self._kept is not None and at + HOUR <= now - self._kept:
            parts: list[bytes] = []
        elif hour.names:
            parts = hour.packed()
        else:
            return
        yield from (Chunk(at, str(number), part) for number, part in enumerate(parts))
        gone = hour.parts.keys() - {str(number) for number in range(len(parts))} | hour.names
        yield from (Chunk(at, name, None) for name in sorted(gone))


def _split(ids: bytes) -> Iterator[bytes]:
    return (ids[start : start + ID_BYTES] for start in range(0, len(ids), ID_BYTES))


def _holds(part: bytes, identity: bytes) -> bool:
    def at(number: int) -> bytes:
        return part[ID_BYTES * number : ID_BYTES * (number + 1)]

    return at(bisect_left(range(len(part) // ID_BYTES), identity, key=at)) == identity
