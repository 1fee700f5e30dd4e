"""Making a backup of a Pawl that runs, which goes on meanwhile."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pawl_cli.backups import files as backup
from pawl_cli.backups.files import BackupError, Manifest
from pawl_cli.monitor_client import MonitorClient
from pawl_shared.buses.port import Bus, Record
from pawl_shared.topics import Topic

Progress = Callable[[str, float | None], None]
CATCH_UP_SECONDS = 120.0


@dataclass(frozen=True)
class Running:
    """The Pawl that runs. `artifacts`: the URL of its artifact store."""

    bus: Bus
    monitor: MonitorClient
    data: Path
    artifacts: str

    @property
    def keeps_artifacts(self) -> bool:
        return self.artifacts == f"file://{self.data / 'artifacts'}"


def make(pawl: Running, target: Path, progress: Progress, keys: bool = True) -> Manifest:
    """Write the backup into a folder that is new or empty.

    Raises:
        BackupError: the folder is not empty, or the monitor lags behind.
        MonitorError: the monitor does not answer.
    """
    if target.exists() and any(target.iterdir()):
        raise BackupError(f"{target} is not empty: name a folder that is, or that does not exist yet")
    target.mkdir(parents=True, exist_ok=True)
    bus, monitor, data, records = pawl.bus, pawl.monitor, pawl.data, {}
    for topic in backup.STATES:
        progress(topic.name, None)
        records[topic.name] = backup.write_topic(_file(target, topic), _records(bus, topic), None)
    _await(monitor, _ends(bus, progress), progress)
    progress("database", None)
    offsets = monitor.copy_database(target / "database.duckdb", lambda share: progress("database", share))
    for number, topic in enumerate(backup.CONTROL):
        progress("topics", number / len(backup.CONTROL))
        end = offsets.get(topic.name, {})
        records[topic.name] = backup.write_topic(_file(target, topic), _records(bus, topic), end)
    for topic in backup.AHEAD:
        records[topic.name] = backup.write_topic(_file(target, topic), _records(bus, topic), None)
    artifacts = _copy_artifacts(data / "artifacts", target / "artifacts", progress) if pawl.keeps_artifacts else 0
    if keys and (data / "keys").is_dir():
        shutil.copytree(data / "keys", target / "keys")
    files = {
        str(path.relative_to(target)): backup.digest_of(path)
        for path in sorted(target.rglob("*"))
        if path.is_file() and path.parts[len(target.parts)] != "artifacts"
    }
    notes = list(_left_out(pawl, (target / "keys" / "master.keys").exists()))
    manifest = Manifest(datetime.now(UTC).isoformat(), offsets, records, files, artifacts, notes=notes)
    manifest.write(target)
    return manifest


def _left_out(pawl: Running, keys: bool) -> Iterator[str]:
    if not keys:  # left out, or elsewhere
        apart = "PAWL_MASTER_KEYS, PAWL_TOKEN_KEY and PAWL_SUBJECT_KEY"
        yield f"without the master keys: give the restored Pawl the same {apart}"
    if not pawl.keeps_artifacts:
        yield f"without artifacts: they stay in {pawl.artifacts}; give the restored Pawl the same PAWL_ARTIFACT_URL"


def _file(folder: Path, topic: Topic) -> Path:
    return folder / "topics" / f"{topic.name}.gz"


def _records(bus: Bus, topic: Topic) -> Iterator[Record]:
    return (record for record in bus.read(topic.name) if record is not None)


def _ends(bus: Bus, progress: Progress) -> dict[str, dict[str, int]]:
    """Behind the last record of each partition, as it is now."""
    ends: dict[str, dict[str, int]] = {}
    for topic in backup.CONTROL:
        progress(topic.name, None)
        for record in _records(bus, topic):
            ends.setdefault(topic.name, {})[str(record.partition)] = record.offset + 1
    return ends


def _await(monitor: MonitorClient, ends: backup.Offsets, progress: Progress) -> None:
    give_up = time.monotonic() + CATCH_UP_SECONDS
    while True:
        known = monitor.offsets()
        wanted = [(known.get(topic, {}).get(part, 0), end) for topic, p in ends.items() for part, end in p.items()]
        if all(at >= end for at, end in wanted):
            return
        if time.monotonic() > give_up:
            raise BackupError(f"the monitor is still behind after {CATCH_UP_SECONDS:.0f} s: see `pawl status`")
        progress("monitor catches up", sum(min(at, end) for at, end in wanted) / sum(end for _, end in wanted))
        time.sleep(0.2)


def _copy_artifacts(source: Path, target: Path, progress: Progress) -> int:
    """Files are named by their digests and never change: those that come during the copy do no harm."""
    files = [path for path in source.rglob("*") if path.is_file() and len(path.name) == 64]
    for number, path in enumerate(files):
        progress("artifacts", number / len(files))
        destination = target / path.relative_to(source)
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, destination)
    return len(files)
