"""How much memory a set of processes takes together."""

import threading
from collections.abc import Iterable

import psutil


def used_by(root: int, others: Iterable[int] = ()) -> int:
    """Bytes of a process, its descendants, and other processes with theirs.

    Proportional set size where the system has it (shared pages count once over all), else resident set size.
    """
    found: dict[int, psutil.Process] = {}
    for pid in (root, *others):
        try:
            process = psutil.Process(pid)
            for each in (process, *process.children(recursive=True)):
                found[each.pid] = each
        except psutil.Error:
            continue  # it has just ended
    return sum(_size(process) for process in found.values())


def _size(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except AttributeError:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


class MemoryPeak:
    """Samples this process and all its descendants in a thread until stopped."""

    def __init__(self, root: int, every: float = 3.0) -> None:
        self.peak = 0
        self._root, self._every = root, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.peak = max(self.peak, used_by(self._root))

    def stop(self) -> int:
        """The peak in bytes."""
        self._stop.set()
        self._thread.join()
        return max(self.peak, used_by(self._root))
