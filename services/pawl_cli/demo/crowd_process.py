"""The crowd as its own process: commands in, what it did out."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from pawl_cli.demo import measure
from pawl_cli.running.process import kill_group, launched

SCRIPT = Path(__file__).with_name("crowd.py")


class CrowdProcess:
    """Starts crowd.py; `lines` fills with what it says. Its standard error goes to `log`."""

    def __init__(self, url: str, model: str, seed: int, log: Path, key: str = "") -> None:
        self.lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(SCRIPT), "--url", url, "--model", model, "--seed", str(seed)]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(  # noqa: S603 (our own script)
                launched(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "OPENAI_API_KEY": key or "none"},
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, name="crowd", daemon=True)
        self._reader.start()

    def order(self, **orders: Any) -> None:
        """Change what the crowd is like; nothing when it has ended (`running` says so)."""
        if self._process.stdin and self.running():
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(orders) + "\n")
                self._process.stdin.flush()

    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self, timeout: float = 5.0) -> None:
        """Close its commands, which asks it to end; kill it when it does not."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            kill_group(self._process.pid)
            self._process.wait()
        self._reader.join(5)
        if self._process.stdout:
            self._process.stdout.close()

    def _read(self) -> None:
        if self._process.stdout:
            for line in self._process.stdout:
                self.lines.put(json.loads(line))


def visit_of(line: dict[str, Any]) -> measure.Visit:
    """A line with `event` "visit", as far as measuring needs it."""
    answers = line["answers"]
    return measure.Visit(
        began=line["began"],
        ended=line["ended"],
        audience=line["audience"],
        taste=line["taste"],
        approval=line["approval"],
        words=sum(answer["words"] for answer in answers) / len(answers),
        versions=frozenset(answer["version"] for answer in answers),
    )
