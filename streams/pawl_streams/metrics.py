"""Metrics of the streams service."""

from __future__ import annotations

from prometheus_client import Counter

JOINS = Counter("pawl_joins", "Revisions published, by whether the answer was known by then", ["joined"])
