"""Exact binomial confidence limits.

C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
Biometrika 26 (1934).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, exp, floor, lgamma, log

BISECTIONS = 50  # 2^-50 is below the rounding error of the tail sum


@dataclass(frozen=True, slots=True)
class Estimate:
    """A rate in [0, 1] with its interval and the number of sessions it was measured on."""

    point: float
    low: float
    high: float
    n: int


@lru_cache(maxsize=4096)
def lower_limit(successes: int, n: int, delta: float) -> float:
    """The rate p with P(Bin(n, p) >= successes) = delta; it exceeds the true rate with probability <= delta."""
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie in 0..{n}, not {successes}")
    if successes == 0:
        return 0.0
    low, high = 0.0, successes / n
    choose = lgamma(n + 1) - lgamma(successes + 1) - lgamma(n - successes + 1)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if _upper_tail(successes, n, middle, choose) < delta:
            low = middle
        else:
            high = middle
    return low


def _upper_tail(successes: int, n: int, p: float, log_choose: float) -> float:
    """P(Bin(n, p) >= successes) for p <= successes / n, where the terms only fall."""
    if p >= 1.0:
        return 1.0
    if p <= 0.0:
        return 0.0
    term = exp(log_choose + successes * log(p) + (n - successes) * log(1 - p))
    odds, tail, k = p / (1 - p), 0.0, successes
    while k <= n and term > 1e-18:
        tail += term
        term *= (n - k) / (k + 1.0) * odds
        k += 1
    return tail


def estimate(total: float, n: int, level: float = 0.95) -> Estimate | None:
    """Mean of n rewards in [0, 1] that sum to `total`, with its two-sided interval; None for n = 0.

    Rewards that are not 0 or 1 have less variance than the binomial, so rounding the sum outwards keeps the level.
    """
    if n == 0:
        return None
    delta = (1 - level) / 2
    low = lower_limit(floor(total + 1e-9), n, delta)
    high = 1 - lower_limit(n - ceil(total - 1e-9), n, delta)
    point = min(1.0, max(0.0, total / n))  # a sum of means may miss 0 or n by a rounding error
    return Estimate(point, low, high, n)
