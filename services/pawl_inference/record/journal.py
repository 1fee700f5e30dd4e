"""A local append-only journal: what was answered is on disk before the answer ends, whatever happens to the process.

One record is one `write()` of a header and its payload, so that SIGKILL loses nothing that was appended (a loss of
power may lose what the kernel had not written yet). Header: payload length and CRC-32 of the payload, little endian,
four bytes each. Records are numbered from 0; a segment file is named by the number of its first record. `acknowledged`
holds the number of records that need not be sent again; segments before it are deleted.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pawl_shared.errors import ConfigurationError, PawlError

_HEADER = struct.Struct("<II")
_SUFFIX = ".journal"


class JournalFullError(PawlError):
    """No room for another record: the broker has been away too long, or the disk is full."""


@dataclass
class _Segment:
    path: Path
    first: int
    count: int
    size: int

    @property
    def end(self) -> int:
        return self.first + self.count


class Journal:
    """Append from any thread; read and acknowledge from one."""

    def __init__(self, folder: Path, *, max_bytes: int, segment_bytes: int = 8 << 20) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        folder.mkdir(parents=True, exist_ok=True)
        self._owner = _own(folder)
        self.damaged = 0
        self._acknowledged = _read_number(folder / "acknowledged")
        self._segments = self._recover()
        self._acknowledged = max(self._acknowledged, self._segments[0].first)
        self._file = os.open(self._segments[-1].path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._reader: tuple[Path, int, int] | None = None
        self._forget_acknowledged()

    @property
    def acknowledged(self) -> int:
        """How many records, from the first one ever, need not be sent again."""
        return self._acknowledged

    @property
    def end(self) -> int:
        """The number that the next record will get."""
        return self._segments[-1].end

    @property
    def backlog(self) -> int:
        """Records that wait to be acknowledged."""
        return self.end - self._acknowledged

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in self._segments)

    @property
    def full(self) -> bool:
        """Whether new requests have to be refused. Answers that were begun before still find room (see `append`)."""
        return self.size >= self._max_bytes

    def append(self, payload: bytes) -> int:
        """Write one record; returns its number. Raises JournalFullError when the disk has no room for it.

        Not bounded by `max_bytes`: whoever began an answer asked `full` before, and must be able to log it.
        """
        record = _HEADER.pack(len(payload), zlib.crc32(payload)) + payload
        with self._lock:
            if self._segments[-1].size and self._segments[-1].size + len(record) > self._segment_bytes:
                self._roll()
            segment = self._segments[-1]
            self._write(segment, record)
            segment.size += len(record)
            segment.count += 1
            self._arrived.notify_all()
            return segment.end - 1

    def read(self, limit: int, start: int | None = None) -> list[tuple[int, bytes]]:
        """Up to `limit` records with their numbers, from `start` on (default: the first that is not acknowledged).

        Numbers skip what was damaged on disk. Fewer than `limit` do not mean that there are no more.
        """
        with self._lock:
            at = self._acknowledged if start is None else start
            segment = next((each for each in self._segments if at < each.end), None)
            if segment is None:
                return []
            at = max(at, segment.first)
            count = min(limit, segment.end - at)
            offset = self._reader[2] if self._reader and self._reader[:2] == (segment.path, at) else None
        return self._read_from(segment, at, count, offset)

    def wait(self, number: int, timeout: float) -> bool:
        """Wait until record `number` is there, for at most `timeout` seconds."""
        with self._lock:
            return self._arrived.wait_for(lambda: self.end > number, timeout)

    def acknowledge(self, count: int) -> None:
        """Remember that the first `count` records need not be sent again; survives a restart."""
        with self._lock:
            if not self._acknowledged <= count <= self.end:
                raise ValueError(f"cannot acknowledge {count} records: between {self._acknowledged} and {self.end}")
            _write_number(self._folder / "acknowledged", count)
            self._acknowledged = count
            self._forget_acknowledged()

    def close(self) -> None:
        """Close the files; everything that was appended stays."""
        with self._lock:
            os.close(self._file)
            os.close(self._owner)

    def _write(self, segment: _Segment, record: bytes) -> None:
        try:
            written = os.write(self._file, record)
        except OSError as error:
            raise JournalFullError(f"cannot write to {segment.path}: {error.strerror}; free some space") from error
        if written != len(record):
            os.ftruncate(self._file, segment.size)
            raise JournalFullError(f"no space left for {segment.path}; free some space")

    def _roll(self) -> None:
        segment = _Segment(self._path(self.end), self.end, 0, 0)
        opened = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.close(self._file)
        self._file = opened
        self._segments.append(segment)

    def _read_from(self, segment: _Segment, at: int, count: int, offset: int | None) -> list[tuple[int, bytes]]:
        """Sequential readers go on at a known offset; others count from the segment's start."""
        found = []
        with segment.path.open("rb") as file:
            if offset is None:
                for _ in range(at - segment.first):
                    file.seek(_HEADER.unpack(file.read(_HEADER.size))[0], os.SEEK_CUR)
            else:
                file.seek(offset)
            for number in range(at, at + count):
                length, _crc = _HEADER.unpack(file.read(_HEADER.size))
                found.append((number, file.read(length)))
            self._reader = (segment.path, at + count, file.tell())
        return found

    def _recover(self) -> list[_Segment]:
        """Every whole record counts; what a crash left behind the last one is cut off."""
        segments = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            first = int(path.stem)
            offsets = [offset for offset, _ in _scan(path)]
            size = offsets[-1] if offsets else 0
            if size < path.stat().st_size:
                self.damaged += 1
                path.with_suffix(".damaged").write_bytes(path.read_bytes()[size:])
                os.truncate(path, size)
            segments.append(_Segment(path, first, len(offsets), size))
        last = max(self._acknowledged, segments[-1].end if segments else 0)
        if not segments or segments[-1].end < last:
            segments.append(_Segment(self._path(last), last, 0, 0))
        return segments

    def _forget_acknowledged(self) -> None:
        while len(self._segments) > 1 and self._segments[0].end <= self._acknowledged:
            self._segments.pop(0).path.unlink(missing_ok=True)

    def _path(self, first: int) -> Path:
        return self._folder / f"{first:020d}{_SUFFIX}"


def _scan(path: Path) -> Iterator[tuple[int, bytes]]:
    """(offset behind it, payload) of every whole record, up to the first one that is torn or damaged."""
    with path.open("rb") as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            length, crc = _HEADER.unpack(header)
            payload = file.read(length)
            if len(payload) != length or zlib.crc32(payload) != crc:
                return
            yield file.tell(), payload


def _own(folder: Path) -> int:
    """Two writers would tear each other's records: the second one is refused."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ConfigurationError(
            f"another process writes the journal in {folder}; give each replica its own PAWL_DATA_DIR"
        ) from error
    return lock


def _read_number(path: Path) -> int:
    """0 where the file is missing or empty (power loss): everything is then sent again, which its ids make harmless."""
    text = path.read_text() if path.exists() else ""
    return int(text) if text.isdecimal() else 0


def _write_number(path: Path, number: int) -> None:
    """Replaced in one step: a reader finds the old number or the new one."""
    beside = path.with_suffix(".new")
    beside.write_text(str(number))
    beside.replace(path)
