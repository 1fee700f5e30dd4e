"""Ctrl-C, a request to stop and a closed terminal all end the same way: in order."""

import signal
from types import FrameType

INTERRUPTED = 130  # exit code after any of them
_ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop_in_order() -> None:
    """From now on the first of these signals raises KeyboardInterrupt in the main thread; further ones change nothing,
    because the stop that follows is bounded in time and must not be cut short."""
    for number in _ALL:
        signal.signal(number, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    for each in _ALL:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(signal.Signals(number).name)
