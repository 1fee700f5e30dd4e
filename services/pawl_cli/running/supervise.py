"""Keeps a set of processes running, and leaves none behind.

Restarts follow restarts.py. Three things make sure that nothing outlives the supervisor, whatever happens: a clean
`stop()`; the kernel, asked by each process at its start (launch.py); and the reaper, which sees the supervisor's pipe
close (reaper.py). Call `poll()` regularly, always from the thread that called `start()`: the kernel ties a process to
the thread that started it.
"""

import contextlib
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from pawl_cli.running import reaper
from pawl_cli.running.process import Unit
from pawl_cli.running.restarts import RestartPolicy, RestartState, step


@dataclass(frozen=True)
class Happening:
    """Something that people should hear about a process."""

    unit: str
    text: str
    final: bool = False  # it is given up: nobody will start it again


@dataclass
class _Supervised:
    unit: Unit
    state: RestartState = field(default_factory=RestartState)
    restart_at: float | None = None
    given_up: bool = False
    group: int | None = None


class Supervisor:
    """Starts units in order, restarts those that end, stops them all in reverse order."""

    def __init__(self, policy: RestartPolicy | None = None) -> None:
        self._policy = policy or RestartPolicy()
        self._supervised: list[_Supervised] = []
        self._reaper: subprocess.Popen[str] | None = None

    def start(self, unit: Unit) -> None:
        """Raises whatever the unit's own start raises; then it is not supervised."""
        supervised = _Supervised(unit)
        self._begin(supervised)
        self._supervised.append(supervised)

    def poll(self) -> list[Happening]:
        """Restart what ended and is due; answers what happened since the last call."""
        now = time.monotonic()
        happenings: list[Happening] = []
        for supervised in self._supervised:
            if supervised.restart_at is not None:
                if now >= supervised.restart_at:
                    happenings += self._try_again(supervised)
            elif not supervised.given_up and (status := supervised.unit.poll()) is not None:
                happenings.append(self._ended(supervised, now, status))
        return happenings

    def pids(self) -> dict[str, int]:
        """Process ids of what runs now, by name."""
        return {s.unit.name: s.unit.pid for s in self._supervised if s.unit.pid is not None and s.unit.poll() is None}

    def stop(self, timeout: float = 20.0) -> None:
        """Stop all but the first unit together, then the first (the broker, which the others need to stop cleanly).

        What has not stopped after `timeout` seconds is killed.
        """
        supervised, self._supervised = self._supervised, []
        for wave in (supervised[1:], supervised[:1]):
            for each in wave:
                each.unit.terminate()
            deadline = time.monotonic() + timeout
            for each in wave:
                each.unit.wait(max(0.0, deadline - time.monotonic()))
                each.unit.kill()  # also what it may have left in its process group
                self._forget(each)
        self._stop_reaper()

    def _begin(self, supervised: _Supervised) -> None:
        try:
            supervised.unit.start(self._reaper_input())
        except BaseException:
            if supervised.unit.pid is not None:
                self._tell_reaper(f"-{supervised.unit.pid}")
            raise
        supervised.state = supervised.state.begun(time.monotonic())
        supervised.restart_at = None
        supervised.group = supervised.unit.pid
        if supervised.group is not None:
            self._tell_reaper(f"+{supervised.group}")  # the process has told it, but perhaps one that was just dying

    def _try_again(self, supervised: _Supervised) -> list[Happening]:
        try:
            self._begin(supervised)
        except Exception as error:  # whatever it was, the policy decides whether to try again
            supervised.restart_at = None
            return [Happening(supervised.unit.name, str(error)), self._ended(supervised, time.monotonic(), 1)]
        return [Happening(supervised.unit.name, "started again")]

    def _ended(self, supervised: _Supervised, now: float, status: int) -> Happening:
        supervised.unit.kill()
        self._forget(supervised)
        supervised.state, decision = step(self._policy, supervised.state, now, status)
        supervised.given_up = decision.delay is None
        supervised.restart_at = None if decision.delay is None else now + decision.delay
        return Happening(supervised.unit.name, decision.reason, final=supervised.given_up)

    def _forget(self, supervised: _Supervised) -> None:
        if supervised.group is not None:
            self._tell_reaper(f"-{supervised.group}")
            supervised.group = None

    def _reaper_input(self) -> int | None:
        if self._reaper is None or self._reaper.poll() is not None:
            self._start_reaper()
        return self._reaper.stdin.fileno() if self._reaper and self._reaper.stdin else None

    def _tell_reaper(self, line: str) -> None:
        self._reaper_input()
        if self._reaper and self._reaper.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._reaper.stdin.write(line + "\n")
                self._reaper.stdin.flush()

    def _start_reaper(self) -> None:
        self._reaper = subprocess.Popen(  # noqa: S603 (our own script)
            [sys.executable, "-I", "-S", str(Path(reaper.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        for supervised in self._supervised:
            if supervised.group is not None:
                self._tell_reaper(f"+{supervised.group}")

    def _stop_reaper(self) -> None:
        if self._reaper and self._reaper.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._reaper.stdin.close()
            self._reaper.wait(10)
        self._reaper = None
