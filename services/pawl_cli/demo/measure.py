"""Approval as people see it: per rated visit, with an interval. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

Z95 = 1.959964  # two-sided 95 %


@dataclass(frozen=True)
class Approval:
    """Share of approval over rated sessions, with its 95 % interval."""

    point: float
    low: float
    high: float
    sessions: int

    def __str__(self) -> str:
        return f"{self.point:.0%} [{self.low:.0%}, {self.high:.0%}] of {self.sessions} sessions"


@dataclass(frozen=True)
class Visit:
    """One session of the crowd, as far as measuring needs it; `approval` is the mean of its thumbs, or None."""

    began: float
    ended: float
    audience: str
    taste: str
    approval: float | None
    words: float
    versions: frozenset[str]


def approval(visits: Iterable[Visit]) -> Approval:
    """Wilson's score interval (Wilson 1927, eq. 1) over sessions, never over thumbs, which are correlated within one.

    A session's mean lies in [0, 1], so its variance is at most a Bernoulli's: the interval is then too wide, not too
    narrow. Without any rated session: point 0, interval [0, 1].
    """
    rewards = [visit.approval for visit in visits if visit.approval is not None]
    n = len(rewards)
    if not n:
        return Approval(0.0, 0.0, 1.0, 0)
    p = sum(rewards) / n
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    return Approval(p, max(0.0, centre - half), min(1.0, centre + half), n)


@dataclass(frozen=True)
class Bin:
    """Approval of consecutive visits, at their mean time."""

    time: float
    approval: Approval


def bins(visits: Sequence[Visit], size: int) -> list[Bin]:
    """Consecutive rated visits in groups of `size`, in order of their end; a last group below a third is left out.

    Raises ValueError when size is not positive.
    """
    if size < 1:
        raise ValueError(f"a bin needs at least one visit, not {size}")
    rated = sorted((visit for visit in visits if visit.approval is not None), key=lambda visit: visit.ended)
    groups = [rated[start : start + size] for start in range(0, len(rated), size)]
    return [
        Bin(sum(visit.ended for visit in group) / len(group), approval(group))
        for group in groups
        if len(group) * 3 >= size
    ]
