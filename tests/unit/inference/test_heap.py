"""What is freed goes back to the system."""

import sys
from pathlib import Path

import pytest
from support.heap import glibc
from support.inference import eventually

from pawl_inference import heap
from pawl_inference.heap import HeapKeeper

MB = 1 << 20


def resident() -> int:
    """Bytes of this process's own memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@glibc
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_free_memory_below_used_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "EVERY_SECONDS", 0.01)
    peak = [bytes(10_000) for _ in range(5_000)]
    last = bytes(10_000)
    del peak
    before, keeper = resident(), HeapKeeper()
    keeper.start()
    assert eventually(lambda: resident() < before - 30 * MB)
    keeper.stop()
    del last
