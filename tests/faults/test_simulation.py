"""The whole loop in one thread, under faults by a seed; thousands of them: benchmarks/simulation.py."""

import pytest
from benchmarks.simulated.history import history

from pawl_shared.buses.arrivals import Arrivals
from pawl_shared.buses.port import Record
from pawl_shared.stores.memory import MemoryStore
from pawl_streams.ownership import Ownership


@pytest.mark.parametrize("seed", [1, 6])
def test_whatever_happens_nothing_is_lost_doubled_or_decided_without_cause(seed: int) -> None:
    outcome = history(seed)
    assert not outcome.broken, str(outcome)
    assert sum(outcome.faults.values()) >= 50
    assert outcome.decisions >= 2, "a canary at least began"


def test_a_seed_is_one_history() -> None:
    first, second = history(3, steps=600), history(3, steps=600)
    assert (first.faults, first.steps) == (second.faults, second.steps)


class TestTheInvariantsCanFail:
    """Each of these breaks one thing that exactly once rests upon, and is found out."""

    def test_without_deduplication(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(MemoryStore, "seen", lambda self, ids: set())
        assert any("stored 2 times" in sentence or "is there" in sentence for sentence in history(1, steps=600).broken)

    def test_of_two_streams_workers_one_tells_nothing_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Ownership, "taken", lambda *_: ())
        assert any("ends with reward" in sentence for sentence in history(1, steps=1_200).broken)

    def test_without_the_order_of_arrival(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def at_once(self: Arrivals) -> list[Record]:
            found = [record for waiting in self._waiting.values() for _, record in waiting]
            for waiting in self._waiting.values():
                waiting.clear()
            return found

        monkeypatch.setattr(Arrivals, "release", at_once)
        assert any("replay" in sentence for sentence in history(0, steps=1_200).broken)
