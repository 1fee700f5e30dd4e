"""Restoring a backup into a new data folder, for `pawl up` to go on from."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from pawl_cli.backups import files as backup
from pawl_cli.backups.files import BackupError, Manifest
from pawl_cli.running.embedded_kafka import EmbeddedKafka
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Bus, Partition
from pawl_shared.topics import TOPICS

Progress = Callable[[str, float | None], None]
OUTSTANDING = 5_000


def restore(source: Path, data: Path, progress: Progress) -> Manifest:
    """Fill a data folder that is new or empty: artifacts, keys, a broker with the topics, and the database.

    Raises:
        BackupError: the backup is damaged, or the folder is not empty.
    """
    if data.exists() and any(entry.name not in (".lock", "running.json") for entry in data.iterdir()):
        raise BackupError(f"{data} is not empty: restore into a folder that is, and look at it before you replace any")
    progress("check", None)
    manifest = backup.read_manifest(source)
    data.mkdir(parents=True, exist_ok=True)
    _copy_artifacts(source / "artifacts", data / "artifacts", progress)
    if (source / "keys").is_dir():
        shutil.copytree(source / "keys", data / "keys")
        (data / "keys").chmod(0o700)
    with EmbeddedKafka(data / "kafka") as broker:
        offsets = publish(KafkaBus(broker.bootstrap_servers), source, manifest, progress)
    progress("database", None)
    _database(source, data, {topic: parts for topic, parts in offsets.items() if topic in manifest.offsets})
    return manifest


def publish(bus: Bus, source: Path, manifest: Manifest, progress: Progress) -> dict[str, dict[str, int]]:
    """Fill new topics with the records of a backup, in order; answers the offsets behind the last ones."""
    created = bus.create_topics(TOPICS)
    if missing := set(manifest.records) - set(created):
        raise BackupError(f"the broker has {', '.join(sorted(missing))} already: restore into a new one")
    offsets: dict[str, dict[str, int]] = defaultdict(dict)
    producer = bus.producer("pawl-restore")
    done, total = 0, max(1, sum(manifest.records.values()))
    try:
        for topic in manifest.records:
            sent: list[tuple[int, Future[Partition]]] = []
            for part, message in backup.read_topic(source / "topics" / f"{topic}.gz", topic):
                sent.append((part, producer.send(message)))
                offsets[topic][str(part)] = offsets[topic].get(str(part), 0) + 1
                done += 1
                if len(sent) >= OUTSTANDING:
                    _settle(topic, sent)
                    progress("topics", done / total)
            _settle(topic, sent)
            progress("topics", done / total)
    finally:
        producer.close()
    return dict(offsets)


def _settle(topic: str, sent: list[tuple[int, Future[Partition]]]) -> None:
    """A record must come to its old partition, since its key's later records will."""
    for part, future in sent:
        found = future.result(timeout=120)
        if found.number != part:
            raise BackupError(f"{topic}: a record of partition {part} came to {found.number}; its key is not Pawl's")
    sent.clear()


def _copy_artifacts(source: Path, target: Path, progress: Progress) -> None:
    """Each is checked against its name."""
    files = [path for path in source.rglob("*") if path.is_file()]
    for number, path in enumerate(files):
        progress("artifacts", number / len(files))
        if backup.digest_of(path) != path.name:
            raise BackupError(f"artifact {path.name[:12]} was changed since the backup: use another copy of it")
        destination = target / path.relative_to(source)
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, destination)


def _database(source: Path, data: Path, offsets: backup.Offsets) -> None:
    """The monitor's own code writes its database; as a program, since services never import each other."""
    path = data / "monitor" / "monitor.duckdb"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / "database.duckdb", path)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(offsets, file)
        file.flush()
        command = [sys.executable, "-m", "pawl_monitor.storage.backup", str(path), file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise BackupError(f"the database could not be restored:\n{done.stderr[-2000:]}")
