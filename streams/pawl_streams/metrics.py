"""Metrics of the streams service."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

JOINS = Counter(
    "pawl_joins",
    "Arrivals by what became of them: joined; waiting (feedback before its answer, or of none); found (an answer that "
    "feedback had waited for); late (after the window, it does not count)",
    ["outcome"],
)
SCRUBBED = Counter("pawl_scrubbed", "Personal data replaced in texts, by model and kind", ["model", "kind"])
DIRECT = Counter("pawl_direct_feedback", "Feedback straight from Kafka clients, by outcome", ["outcome"])
STATES = Gauge("pawl_join_states", "Answers and sessions whose state is kept")
DROPPED = Counter("pawl_join_states_dropped", "States that were dropped because their window is over")
