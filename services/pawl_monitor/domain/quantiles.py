"""Quantiles of what grows by factors, from histograms of floor(8 log2(x)), which add up.

The idea is DDSketch's (Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
guarantees", VLDB 2019): buckets that grow by a constant factor bound the relative error.
"""

from __future__ import annotations

from collections.abc import Mapping

BUCKETS_PER_DOUBLING = 8


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """The quantile, at most 4.5 % off; None when the histogram is empty."""
    total, before = sum(counts.values()), 0
    for bucket in sorted(counts):
        before += counts[bucket]
        if before >= share * total:
            return float(2 ** ((bucket + 0.5) / BUCKETS_PER_DOUBLING))
    return None
