"""Become another program that cannot outlive the process that started it.

    python -I -S launch.py PARENT_PID program arguments…

On Linux the kernel is asked to SIGKILL this process when its parent dies (PR_SET_PDEATHSIG), however the parent
dies; the request survives exec, so it works for a JVM too. On other systems the reaper (reaper.py) does the same work
from outside. A plain script, run as its own process, because code between fork and exec in a threaded parent can
deadlock (subprocess's own warning about preexec_fn); it costs 15 ms.
"""

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


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  (no shell is the point)
