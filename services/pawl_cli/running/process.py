"""One supervised program: its own session, its own log, and it dies with this process."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pawl_cli.running import launch

LOG_LIMIT = 20_000_000  # bytes; a longer log is set aside at the next start

# For inference. glibc keeps freed memory for each thread apart, up to seven pieces of each size, and what lies between
# such pieces is not given back: under full load SmolLM2-135M's process grew by 1.4 MB an hour. Without that, taking
# memory costs some 25 ns more, 400,000 times a second.
STEADY_HEAP = {"GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES") or "glibc.malloc.tcache_count=0"}


class Unit(Protocol):
    """What the supervisor keeps running."""

    name: str

    def start(self, reaper: int | None = None) -> None:
        """Start it; raises when it cannot be started at all.

        reaper: the file descriptor on which the process tells the reaper of itself (launch.py).
        """

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""

    @property
    def pid(self) -> int | None:
        """Its process id, which is also its process group; None before the start."""

    def terminate(self) -> None:
        """Ask it to stop."""

    def kill(self) -> None:
        """End it now, with everything in its process group."""

    def wait(self, timeout: float) -> bool:
        """Wait until it has ended; False when it has not."""


class Program:
    """A program run by the operating system. Standard output and error are appended to `log`."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, reaper: int | None = None) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (the command is ours)
                launched(self._command, reaper),
                pass_fds=() if reaper is None else (reaper,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,  # Ctrl-C in the terminal reaches only the supervisor
            )

    def poll(self) -> int | None:
        return self._process.poll() if self._process else None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def terminate(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process:
            kill_group(self._process.pid)
            self._process.wait()

    def wait(self, timeout: float) -> bool:
        if self._process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        return self.poll() is not None or self._process is None

    def log_tail(self, lines: int = 15) -> str:
        """The end of its log, for error messages."""
        return tail(self.log, lines)


def launched(command: Sequence[str], reaper: int | None = None) -> list[str]:
    """The command, wrapped so that it dies with this process (launch.py)."""
    told = "-" if reaper is None else str(reaper)
    return [sys.executable, "-I", "-S", str(Path(launch.__file__)), str(os.getpid()), told, *command]


def kill_group(group: int) -> None:
    """SIGKILL for a whole process group; nothing when it is gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def tail(file: Path, lines: int) -> str:
    """The last lines of a text file, at most 16 KiB; a sentence when there is none."""
    if not file.exists():
        return f"({file} was not written)"
    with file.open("rb") as content:
        content.seek(max(0, file.stat().st_size - 16_384))
        return "\n".join(content.read().decode(errors="replace").splitlines()[-lines:])
