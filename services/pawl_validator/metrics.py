"""Metrics of the validator, beside those that every service has."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_BUCKETS = (5, 10, 20, 40, 60, 100, 150, 300, 600, 1800)

EVALUATIONS = Counter("pawl_evaluations", "Candidates that went through the gates, by outcome", ["outcome"])
GATES_FAILED = Counter("pawl_gates_failed", "Gates that stopped a candidate, by gate", ["gate"])
EVALUATION_SECONDS = Histogram("pawl_evaluation_seconds", "Wall time of an evaluation", buckets=_BUCKETS)
EXPORT_SECONDS = Histogram(
    "pawl_registration_seconds", "Wall time of resolving and exporting a base model", buckets=_BUCKETS
)
FRACTION = Gauge("pawl_evaluation_fraction", "How much of the current evaluation is done, 0 to 1; 0 without one")
