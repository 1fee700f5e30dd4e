"""The broker is killed under a load of answers and feedback: the small sister of benchmarks/broker_away.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # benchmarks are no installed package

from benchmarks.support.away import BrokerAway

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]


def test_nothing_that_was_acknowledged_is_lost_while_the_broker_is_away(tmp_path: Path) -> None:
    trial = BrokerAway(tmp_path, timeout=2.0)
    try:
        outcome = trial.run(away=2.0, around=0.5)
    finally:
        trial.close()
    assert outcome.answers
    assert outcome.feedback
    assert outcome.refused.keys() == {503}
    assert (outcome.lost, outcome.doubled) == (0, 0)
