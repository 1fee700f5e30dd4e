"""Become another program that cannot outlive the process that started it.

    python -I -S launch.py PARENT_PID REAPER program arguments…

On Linux the kernel is asked to SIGKILL this process when its parent dies (PR_SET_PDEATHSIG), however the parent
dies; the request survives exec, so it works for a JVM too. On other systems the reaper (reaper.py) does the same work
from outside, and on all of them for what the program itself starts. It is told from here, on the file descriptor REAPER
(`-`: there is none): before its parent has told it, the program may have children that nobody would ever end.

A plain script, run as its own process, because code between fork and exec in a threaded parent can deadlock
(subprocess's own warning about preexec_fn); it costs 15 ms.
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent dies; leave at once where it is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def tell(reaper: int) -> None:
    """That this process group, of which this process is the first, lives."""
    with contextlib.suppress(BrokenPipeError):  # it is gone: the supervisor starts another one, and tells it of all
        os.write(reaper, f"+{os.getpid()}\n".encode())
    os.close(reaper)


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    if sys.argv[2] != "-":
        tell(int(sys.argv[2]))
    os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606  (no shell is the point)
