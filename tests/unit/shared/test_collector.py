"""Cycles that become garbage late are found soon, where nobody looks through what was there before."""

import gc
from collections import deque

from pawl_shared.running.collector import settled


class Held:
    """Holds itself."""

    alive = 0

    def __init__(self) -> None:
        self.own = self
        Held.alive += 1

    def __del__(self) -> None:
        Held.alive -= 1


def test_cycles_do_not_wait_until_a_quarter_of_the_process_is_made_anew() -> None:
    before = [set[int]() for _ in range(400_000)]  # as modules, and what they made
    with settled():
        recent: deque[Held] = deque(maxlen=1_000)  # they outlive the young generations
        for _ in range(400_000):
            recent.append(Held())
        assert Held.alive < 15_000
    assert gc.get_freeze_count() == 0
    del before
