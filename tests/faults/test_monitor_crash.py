"""SIGKILL of the monitor and of the broker while events flow: the small sister of benchmarks/ingest_crash.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # benchmarks are no installed package

from benchmarks.support.ordeal import Ordeal

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]


def test_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    ordeal = Ordeal(tmp_path, sys.executable, events=2_000, seed=3)
    try:
        outcome = ordeal.run(kills=2)
    finally:
        ordeal.close()
    assert outcome.kills == {"monitor": 1, "broker": 1}
    assert (outcome.lost, outcome.doubled) == (0, 0)
