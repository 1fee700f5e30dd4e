"""aiokafka 0.14 cannot read past a record that has a header whose name is not UTF-8: one such record, which anybody who
may write to pawl.feedback can send, would stop streams for good. Here such names are read with escapes (`\\xff`).

Only a batch that its own decoder has failed on is read again, by its decoder in plain Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher  # type: ignore[import-untyped]
from aiokafka.errors import CorruptRecordException  # type: ignore[import-untyped]
from aiokafka.record.default_records import _DefaultRecordBatchPy  # type: ignore[import-untyped]
from aiokafka.record.memory_records import MemoryRecords  # type: ignore[import-untyped]


def install() -> None:
    """For all consumers of this process."""
    fetcher.MemoryRecords = LenientRecords


class LenientRecords:
    """What a fetch brought of one partition."""

    def __init__(self, content: bytes) -> None:
        self._inner, self._content, self._at = MemoryRecords(content), content, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def next_batch(self) -> Any:
        """The next batch, or None."""
        batch, start = self._inner.next_batch(), self._at
        if batch is None:
            return None
        length = int.from_bytes(self._content[start + 8 : start + 12], "big")  # of what follows these 12 bytes
        self._at = start + 12 + length
        return _LenientBatch(batch, self._content[start : self._at])


class _LenientBatch:
    def __init__(self, batch: Any, content: bytes) -> None:
        self._batch, self._content = batch, content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except (UnicodeDecodeError, CorruptRecordException):
            return iter(_EscapingBatch(self._content))


class _EscapingBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Escaping(self._buffer)  # type: ignore[has-type]


class _Escaping(bytearray):
    """Text in it that is not UTF-8 is escaped."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _Escaping(found) if isinstance(place, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")
