"""Confidence bounds for the gates, without a statistics library. All are one-sided at level `alpha`."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, lgamma, log, log1p, sqrt
from statistics import NormalDist, fmean, variance


def binomial_tail(successes: int, trials: int, rate: float) -> float:
    """P(X >= successes) for X ~ Binomial(trials, rate)."""
    if successes <= 0:
        return 1.0
    if rate <= 0.0:
        return 0.0
    if rate >= 1.0:
        return 1.0
    base = lgamma(trials + 1)
    return min(
        1.0,
        sum(
            exp(base - lgamma(i + 1) - lgamma(trials - i + 1) + i * log(rate) + (trials - i) * log1p(-rate))
            for i in range(successes, trials + 1)
        ),
    )


def lower_rate(successes: int, trials: int, alpha: float) -> float:
    """Exact lower bound of a rate (Clopper and Pearson, Biometrika 1934); 0 when nothing was tried."""
    if successes == 0:
        return 0.0
    low, high = 0.0, successes / trials
    for _ in range(50):
        middle = 0.5 * (low + high)
        if binomial_tail(successes, trials, middle) < alpha:
            low = middle
        else:
            high = middle
    return low


def upper_rate(successes: int, trials: int, alpha: float) -> float:
    """Exact upper bound of a rate; 1 when nothing was tried."""
    return 1.0 - lower_rate(trials - successes, trials, alpha) if trials else 1.0


def auc(high: Sequence[float], low: Sequence[float]) -> float:
    """P(a value of `high` is above one of `low`), ties counted half (Mann and Whitney)."""
    wins = sum((h > v) + 0.5 * (h == v) for h in high for v in low)
    return wins / (len(high) * len(low))


def auc_error(value: float, high: int, low: int) -> float:
    """Standard error of an AUC: the larger of Hanley and McNeil's (Radiology 1982) and the one under no difference.

    The second keeps it above 0 at AUC = 1, where a few probes would otherwise look like a proof.
    """
    q1, q2 = value / (2 - value), 2 * value * value / (1 + value)
    spread = value * (1 - value) + (high - 1) * (q1 - value * value) + (low - 1) * (q2 - value * value)
    return sqrt(max(spread / (high * low), (high + low + 1) / (12 * high * low)))


def ratio_rise(new: Sequence[float], old: Sequence[float], sizes: Sequence[int], alpha: float) -> tuple[float, float]:
    """(mean, half width) of sum(new - old) / sum(sizes), a ratio estimator over paired texts.

    With negative log-likelihoods in nats and sizes in tokens, exp(mean) - 1 is the rise of the perplexity.
    """
    total = sum(sizes)
    mean = (sum(new) - sum(old)) / total
    residuals = [n - o - mean * s for n, o, s in zip(new, old, sizes, strict=True)]
    error = sqrt(variance(residuals, 0.0) / len(residuals)) / fmean(sizes)
    return mean, NormalDist().inv_cdf(1 - alpha) * error
