"""What a backup is made of: files in a folder, with a manifest that names the digest of each.

    manifest.json      what there is, and the offsets up to which the database knows
    database.duckdb    the monitor's, copied in one transaction
    topics/NAME.gz     a low-volume topic: a line of JSON a record, in order, with key and headers
    artifacts/         the artifact store, each file named by its digest
    keys/              master, subject and token keys: without them texts cannot be opened

The one point in time is the database's transaction. Services' state topics are read before it, and the monitor is
awaited until it knows everything that was published by then: whatever a state has brought about is in the topics, which
are read after it, up to the database's offsets. What was published later is left out, and so is traffic (inferences,
feedback, interactions), of which the database has everything up to its offsets.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pawl_shared.buses.port import Message, Record
from pawl_shared.errors import PawlError
from pawl_shared.topics import (
    FEEDBACK,
    INFERENCES,
    INTERACTIONS,
    KEYS,
    STREAMS_STATE,
    TOPICS,
    TRAINER_STATE,
    VALIDATOR_STATE,
    Topic,
)

FORMAT = "pawl.backup.v1"
TRAFFIC = (INFERENCES, FEEDBACK, INTERACTIONS)
STATES = (VALIDATOR_STATE, TRAINER_STATE)
# Read after the database, as they may be ahead of it but never behind: keys of texts that it has, and what the joins
# know of its answers, so that later feedback about them gets higher revisions.
AHEAD = (KEYS, STREAMS_STATE)
# Read by the monitor, so that its database says where to cut.
CONTROL: tuple[Topic, ...] = tuple(t for t in TOPICS if t not in (*TRAFFIC, *STATES, *AHEAD))

Offsets = Mapping[str, Mapping[str, int]]


class BackupError(PawlError):
    """A backup cannot be made or used; the message says why."""


@dataclass(frozen=True)
class Manifest:
    """What a backup holds. `offsets`: topic, partition, the next offset that the database would read."""

    taken: str
    offsets: dict[str, dict[str, int]]
    records: dict[str, int]
    files: dict[str, str]
    artifacts: int
    format: str = FORMAT
    notes: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Last of all, so that a folder with a manifest is whole."""
        part = folder / "manifest.json.part"
        part.write_text(json.dumps(asdict(self), indent=2, sort_keys=True))
        part.replace(folder / "manifest.json")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup whose files are all there and unchanged.

    Raises:
        BackupError: it is no backup, was made by a newer version, or a file differs.
    """
    try:
        content = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise BackupError(f"{folder} holds no backup (no readable manifest.json): name the folder of one") from error
    if content.get("format") != FORMAT:
        raise BackupError(f"{folder} has the format {content.get('format')!r}, and this reads {FORMAT}: update Pawl")
    manifest = Manifest(**content)
    for name, digest in manifest.files.items():
        if not (folder / name).is_file() or digest_of(folder / name) != digest:
            raise BackupError(f"{folder / name} is missing or was changed since the backup: use another copy of it")
    return manifest


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_topic(path: Path, records: Iterable[Record], end: Mapping[str, int] | None) -> int:
    """Write records up to an end by partition (none: all); answers how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=6) as file:
        for record in records:
            if end is None or record.offset < end.get(str(record.partition), 0):
                file.write(json.dumps(_plain(record)) + "\n")
                count += 1
    return count


def read_topic(path: Path, topic: str) -> Iterator[tuple[int, Message]]:
    """(partition, message) in the order in which they stood on the topic."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            part, key, value, headers = json.loads(line)
            decoded = tuple((name, b64decode(content)) for name, content in headers)
            # The joins choose partitions themselves; elsewhere the key does, and it is checked that it still does.
            place = part if topic == STREAMS_STATE.name else None
            yield part, Message(topic, _bytes(key), _bytes(value), decoded, place)


def _plain(record: Record) -> list[object]:
    headers = [[name, _text(value)] for name, value in record.headers]
    return [record.partition, _text(record.key), _text(record.value), headers]


def _text(content: bytes | None) -> str | None:
    return None if content is None else b64encode(content).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)
