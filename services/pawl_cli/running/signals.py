"""Ctrl-C, a request to stop and a closed terminal all end the same way: in order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130  # exit code after any of them
_ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_in_order() -> Iterator[None]:
    """The first of these signals raises KeyboardInterrupt in the main thread; further ones change nothing, because the
    stop that follows is bounded in time and must not be cut short."""
    before = {number: signal.signal(number, _interrupt) for number in _ALL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _: FrameType | None) -> None:
    for each in _ALL:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(signal.Signals(number).name)
