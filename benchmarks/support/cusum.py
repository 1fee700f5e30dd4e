"""A CUSUM that is told both rates: what no detector that has to learn them can beat (Lorden 1971, Moustakides 1986)."""

from __future__ import annotations

from functools import lru_cache
from math import log

import numpy as np

STATES = 400  # of the grid on which the mean time to a false alarm is solved


def increments(before: float, after: float) -> tuple[float, float]:
    """Log-likelihood ratio of one session, disliked and liked."""
    return log((1 - after) / (1 - before)), log(after / before)


def divergence(after: float, before: float) -> float:
    """KL(after || before) of two rates, in nats."""
    disliked, liked = increments(before, after)
    return after * liked + (1 - after) * disliked


@lru_cache
def threshold(before: float, after: float, false_alarms: float) -> float:
    """The limit for so many false alarms a session (Brook and Evans, Biometrika 1972: a Markov chain on a grid)."""
    low, high = 1.0, 20.0
    for _ in range(24):
        middle = 0.5 * (low + high)
        early = time_to_false_alarm(before, after, middle) < 1 / false_alarms
        low, high = (middle, high) if early else (low, middle)
    return high


def time_to_false_alarm(before: float, after: float, limit: float) -> float:
    """Mean sessions until a CUSUM that starts at 0 passes `limit` although nothing has changed."""
    width = limit / STATES
    chain = np.zeros((STATES, STATES))
    rows = np.arange(STATES)
    for step, chance in zip(increments(before, after), (1 - before, before), strict=True):
        place = np.maximum(rows + step / width, 0.0)
        lower = np.floor(place).astype(int)
        # shared between the two nearest states, so that the mean step is exact: rounding it down would make the chain
        # drift away from the limit, and the limit too low (a delay of 190 instead of 230)
        for target, share in ((lower, 1 - (place - lower)), (lower + 1, place - lower)):
            inside = target < STATES
            np.add.at(chain, (rows[inside], target[inside]), chance * share[inside])
    return float(np.linalg.solve(np.eye(STATES) - chain, np.ones(STATES))[0])


class Cusum:
    """The detector; like the others it answers a session with whether it raises the alarm."""

    def __init__(self, before: float, after: float, false_alarms: float) -> None:
        self._steps = increments(before, after)
        self._limit, self._value = threshold(before, after, false_alarms), 0.0

    def step(self, liked: float) -> bool:
        self._value = max(0.0, self._value + self._steps[liked > 0.5])
        if self._value < self._limit:
            return False
        self._value = 0.0
        return True
