"""One Pawl per data folder: a lock, and a note that says who holds it and where it listens."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from pawl_cli.running.note import RunningNote, read_note
from pawl_shared.errors import PawlError


class DataFolderInUseError(PawlError):
    """Another process works in this data folder."""


class NoDataFolderError(PawlError):
    """Nothing can be kept where it should be."""


class DataFolder:
    """A folder that this process has to itself, from `acquire()` to `release()` or its death."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self._lock = FileLock(self.path / ".lock")

    def acquire(self) -> None:
        """Raises DataFolderInUseError with the pid that holds it, NoDataFolderError, NoRightError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            note = read_note(self.path)
            holder = f"process {note.pid}" if note else "another process"
            raise DataFolderInUseError(
                f"{self.path} is in use by {holder}, which runs Pawl there. Stop it (Ctrl-C in its terminal), "
                "or choose another folder with --data."
            ) from error
        except OSError as error:
            raise NoDataFolderError(f"{error}: choose another folder with --data, or make this one yours") from error
        self.write_note(RunningNote(os.getpid()))

    def write_note(self, note: RunningNote) -> None:
        part = self.path / "running.json.part"
        part.write_text(json.dumps(asdict(note), indent=2))
        part.replace(self.path / "running.json")

    def release(self) -> None:
        if self._lock.is_locked:
            (self.path / "running.json").unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> "DataFolder":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
