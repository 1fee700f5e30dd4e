"""Long work in a child process: one contract for training, evaluation and export.

The parent writes JOB_DIR/spec.json and runs `python -m MODULE JOB_DIR`. The child appends JSON lines to
JOB_DIR/progress.jsonl and ends with JOB_DIR/result.json (exit status 0) or JOB_DIR/error.json (1). It dies with its
parent, so that nothing is left behind whatever happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pawl_shared.errors import ChildFailedError

_PR_SET_PDEATHSIG = 1


class Progress(BaseModel):
    """One line of progress."""

    model_config = ConfigDict(frozen=True, extra="allow")

    phase: str
    step: int = 0
    total: int = 0
    fraction: float = Field(default=0.0, ge=0, le=1)
    message: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    eta_seconds: float | None = None


# ---------------------------------------------------------------- in the parent


def die_with_parent() -> None:
    """For subprocess's preexec_fn: the kernel kills this process when the thread that started it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def watch_parent() -> None:
    """In a child whose standard input is a pipe from its parent: end when the parent does, on every platform."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        os._exit(0)

    threading.Thread(target=wait, name="watch-parent", daemon=True).start()


class Child:
    """A running job."""

    def __init__(
        self, module: str, job_dir: Path, spec: BaseModel, environment: Mapping[str, str] | None = None, nice: int = 0
    ) -> None:
        shutil.rmtree(job_dir, ignore_errors=True)
        job_dir.mkdir(parents=True)
        (job_dir / "spec.json").write_text(spec.model_dump_json(indent=2))
        self.job_dir = job_dir
        self._seen = 0

        def prepare() -> None:
            die_with_parent()
            if nice:
                os.nice(nice)
                # Linux schedules by session first (autogroup): without this a child in a session of its own would get
                # as much as its parent's whole session, whatever its nice value says.
                with contextlib.suppress(OSError):
                    Path("/proc/self/autogroup").write_text(str(nice))

        with (job_dir / "log.txt").open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", module, str(job_dir)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                preexec_fn=prepare,
            )

    def wait(
        self, on_progress: Callable[[Progress], None], cancelled: threading.Event, timeout: float, every: float = 0.2
    ) -> dict[str, Any]:
        """The job's result.

        Raises:
            ChildFailedError: it ended without one, took longer than `timeout` seconds, or was cancelled.
        """
        until = time.monotonic() + timeout  # turns cannot be counted: on a loaded machine each takes longer
        try:
            while self.process.poll() is None:
                self._report(on_progress)
                if cancelled.wait(every):
                    raise ChildFailedError("cancelled")
                if time.monotonic() > until:
                    raise ChildFailedError(
                        f"took longer than {timeout:.0f} s", "Allow it more time, or give it less work."
                    )
            self._report(on_progress)
            return self._result()
        finally:
            self.stop()

    def stop(self) -> None:
        """End it now, with its own children."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()

    def _report(self, on_progress: Callable[[Progress], None]) -> None:
        path = self.job_dir / "progress.jsonl"
        if not path.exists():
            return
        lines = path.read_text().split("\n")[:-1]  # what follows the last newline is still being written
        for line in lines[self._seen :]:
            on_progress(Progress.model_validate_json(line))
        self._seen = len(lines)

    def _result(self) -> dict[str, Any]:
        if self.process.returncode == 0 and (self.job_dir / "result.json").exists():
            result: dict[str, Any] = json.loads((self.job_dir / "result.json").read_text())
            return result
        if (self.job_dir / "error.json").exists():
            error = json.loads((self.job_dir / "error.json").read_text())
            raise ChildFailedError(error["reason"], error.get("advice", ""))
        tail = (self.job_dir / "log.txt").read_text(errors="replace")[-800:]
        code = self.process.returncode
        died = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        raise ChildFailedError(f"the child process {died}", f"Its log ends: {tail}")


# ---------------------------------------------------------------- in the child


class Reporter:
    """Appends progress lines."""

    def __init__(self, job_dir: Path) -> None:
        self._path = job_dir / "progress.jsonl"

    def __call__(self, progress: Progress) -> None:
        with self._path.open("a") as file:
            file.write(progress.model_dump_json() + "\n")


def run_child(work: Callable[[Path, Reporter], Mapping[str, Any]]) -> None:
    """The `main` of a child: `work(job_dir, report)` answers the result, or raises. Never returns."""
    job_dir = Path(sys.argv[1])
    watch_parent()
    try:
        result = work(job_dir, Reporter(job_dir))
    except ChildFailedError as error:
        _write(job_dir / "error.json", {"reason": error.reason, "advice": error.advice})
        sys.exit(1)
    except BaseException as error:
        _write(job_dir / "error.json", {"reason": f"{type(error).__name__}: {error}"[:2000], "advice": ""})
        raise
    _write(job_dir / "result.json", result)
    sys.exit(0)


def _write(path: Path, data: Mapping[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(data, indent=2))
    part.replace(path)
