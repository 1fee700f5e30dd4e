"""The supervisor with small real processes: restarts, order, and that nothing outlives it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pawl_cli.running.data_folder import DataFolder, DataFolderInUseError
from pawl_cli.running.process import Program
from pawl_cli.running.restarts import RestartPolicy
from pawl_cli.running.supervise import Happening, Supervisor

QUICK = RestartPolicy(first_delay=0.01, give_up_after=3)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def program(folder: Path, name: str, code: str) -> Program:
    return Program(name, [sys.executable, "-c", code], folder / f"{name}.log", {"FOLDER": str(folder)})


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor(QUICK)
    supervisor.start(program(tmp_path, "sleeper", "import time; time.sleep(600)"))
    first = supervisor.pids()["sleeper"]
    heard: list[Happening] = []
    try:
        os.kill(first, signal.SIGKILL)
        until(lambda: bool(heard.extend(supervisor.poll()) or supervisor.pids().get("sleeper", first) != first))
    finally:
        supervisor.stop(timeout=5)
    assert [h.text.split(" after")[0] for h in heard] == ["was killed by signal 9", "started again"]


def test_a_process_that_keeps_failing_is_given_up_and_its_log_says_why(tmp_path: Path) -> None:
    supervisor = Supervisor(QUICK)
    broken = program(tmp_path, "broken", "raise SystemExit('no such setting')")
    supervisor.start(broken)
    heard: list[Happening] = []
    try:
        until(lambda: bool(heard.extend(supervisor.poll()) or (heard and heard[-1].final)))
    finally:
        supervisor.stop(timeout=5)
    assert broken.log_tail().count("no such setting") == QUICK.give_up_after


STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(__import__("os").environ["FOLDER"] + "/ready", "w").close()
time.sleep(600)
"""


def test_a_process_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    supervisor = Supervisor(QUICK)
    supervisor.start(program(tmp_path, "stubborn", STUBBORN))
    pid = supervisor.pids()["stubborn"]
    until((tmp_path / "ready").exists)
    supervisor.stop(timeout=0.2)
    assert not alive(pid)


ORDERED = """
import os, signal, sys, time
def stop(*_):
    open(os.environ["FOLDER"] + "/order", "a").write("NAME\\n"); sys.exit(0)
signal.signal(signal.SIGTERM, stop)
open(os.environ["FOLDER"] + "/NAME", "w").close()
time.sleep(600)
"""


def test_the_first_process_stops_last(tmp_path: Path) -> None:
    supervisor = Supervisor(QUICK)
    for name in ("broker", "service"):
        supervisor.start(program(tmp_path, name, ORDERED.replace("NAME", name)))
        until((tmp_path / name).exists)
    supervisor.stop(timeout=5)
    assert (tmp_path / "order").read_text().split() == ["service", "broker"]


# A service with a child of its own that asked for nothing: only the reaper can end that one.
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
part = os.environ["FOLDER"] + "/part"
open(part, "w").write(f"{os.getpid()} {child.pid}")
os.rename(part, os.environ["FOLDER"] + "/pids")
time.sleep(600)
"""
SUPERVISOR = """
import sys, time
from pathlib import Path
from pawl_cli.running.process import Program
from pawl_cli.running.supervise import Supervisor
folder, code = Path(sys.argv[1]), sys.argv[2]
supervisor = Supervisor()
supervisor.start(Program("family", [sys.executable, "-c", code], folder / "log", {"FOLDER": str(folder)}))
while True:
    supervisor.poll()
    time.sleep(0.05)
"""


# One that is not given the CPU any more as soon as the program runs.
BUSY = SUPERVISOR.replace(
    "supervisor = Supervisor()", "Supervisor._tell_reaper = lambda *_: time.sleep(600)\nsupervisor = Supervisor()"
)


@pytest.mark.parametrize("code", [SUPERVISOR, BUSY], ids=["usual", "busy"])
def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path: Path, code: str) -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), FAMILY])
    try:
        until((tmp_path / "pids").exists)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert all(alive(pid) for pid in pids)
    finally:
        supervisor.kill()
        supervisor.wait()
    until(lambda: not any(alive(pid) for pid in pids))


def test_a_data_folder_has_one_owner_and_says_which(tmp_path: Path) -> None:
    with DataFolder(tmp_path), pytest.raises(DataFolderInUseError, match=f"process {os.getpid()}.*--data"):
        DataFolder(tmp_path).acquire()
    with DataFolder(tmp_path):
        pass
