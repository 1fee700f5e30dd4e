"""Where adapter slots lie in memory. Pure.

A step reads every slot from the first to the last one of its rows (ADR 24): SmolLM2-135M on two cores takes 34 ms for
eight rows on two slots that lie side by side, 45 ms with four others between them, 55 ms with ten.
"""

from collections.abc import Collection

# Exchanging what two places hold (5 ms) takes about as long as steps take to read this many slots in vain (2 ms each).
EXCHANGE = 3.0


class Places:
    """Which place each of `count` slots lies in, and when it pays to bring those together that rows run on at once.

    Args:
        exchange: what exchanging two places costs, in slots that a step reads in vain; `math.inf`: nothing is moved.
    """

    def __init__(self, count: int, exchange: float = EXCHANGE) -> None:
        self._of = list(range(count))
        self._exchange = exchange
        self._in_vain = 0

    def of(self, slot: int) -> int:
        """The place of a slot."""
        return self._of[slot]

    def gather(self, slots: Collection[int]) -> list[tuple[int, int]]:
        """Count a step on these slots, and return which places to exchange before it, in order; mostly none.

        Slots move when as much was read in vain as moving them costs, so that batches whose slots change with every
        step lose at most as much again.
        """
        taken = {self._of[slot] for slot in slots}
        in_vain = max(taken) - min(taken) + 1 - len(taken) if taken else 0
        if not in_vain:
            return []
        self._in_vain += in_vain
        windows = [range(first, first + len(taken)) for first in range(len(self._of) - len(taken) + 1)]
        window = min(windows, key=lambda places: len(taken.difference(places)))
        outside = sorted(taken.difference(window))
        if self._in_vain < self._exchange * len(outside):
            return []
        self._in_vain = 0
        exchanges = list(zip(outside, (place for place in window if place not in taken), strict=True))
        for pair in exchanges:
            self._swap(*pair)
        return exchanges

    def _swap(self, first: int, second: int) -> None:
        swapped = {first: second, second: first}
        self._of = [swapped.get(place, place) for place in self._of]
