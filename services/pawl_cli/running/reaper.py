"""Kill what a dead supervisor left behind. A plain script: python -I -S reaper.py, told what to watch on its stdin.

`+PGID` and `-PGID` lines say which process groups live. When the supervisor dies, however it dies, its end of the
pipe closes, and every group that is still listed gets SIGKILL: also on systems without PR_SET_PDEATHSIG (launch.py),
and also grandchildren that nobody asked to die. After a clean stop the list is empty and nothing is killed.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    alive: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            alive.add(group)
        else:
            alive.discard(group)
    for group in alive:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
