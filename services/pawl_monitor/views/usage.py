"""Answers by hour: how many, how they were liked, how fast they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pawl_monitor.domain.intervals import estimate
from pawl_monitor.domain.quantiles import quantile

Fact = dict[str, Any]


def usage_of(rows: Sequence[Fact]) -> list[Fact]:
    """Rows of the rollup with rates and quantiles instead of sums and histograms."""
    return [_hour(row) for row in rows]


def _hour(row: Fact) -> Fact:
    rate = estimate(row["reward"], row["rated"])
    known = {name: row[name] for name in ("hour", "version", "arm", "answers", "rated")}
    return known | {
        "approval": None if rate is None else {"point": rate.point, "low": rate.low, "high": rate.high},
        "feedback_rate": row["with_feedback"] / row["answers"],
        "prompt_tokens": row["prompt_tokens"],
        "answer_tokens": row["answer_tokens"],
        "total_seconds": _quantiles(row["total_seconds"]),
        "first_token_seconds": _quantiles(row["first_token_seconds"]),
    }


def _quantiles(counts: Mapping[int, int]) -> Fact:
    return {f"p{share}": quantile(counts, share / 100) for share in (50, 90, 99)}
