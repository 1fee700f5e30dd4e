"""Metrics that every service has, each declared once with a line of prose. A service adds its own in its metrics.py."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter("pawl_records", "Records read, by topic and outcome", ["service", "topic", "outcome"])
DEAD_LETTERS = Counter("pawl_dead_letters", "Records that went to pawl.dead-letters, by topic", ["service", "topic"])
RETRIES = Counter("pawl_retries", "Records read that were a retry of a dead letter, by topic", ["service", "topic"])
COMMIT_SECONDS = Histogram("pawl_commit_seconds", "Time to commit one batch: state, offsets and events", ["service"])
LAG = Gauge("pawl_consumer_lag", "Records between this service and the end of its topics", ["service"])
EFFECTS = Gauge("pawl_effects_owed", "Work outside the process that is owed, by kind", ["service", "kind"])
ACCESS_REFUSED = Counter(
    "pawl_access_refused",
    "Requests refused for their API key: missing, malformed, unknown, expired, scope; unreadable: nobody can be let in",
    ["service", "reason"],
)
READY = Gauge("pawl_ready", "1 when the service can do its work", ["service"])


class Lags:
    """How far the readers of one service are behind, in one figure."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._behind: dict[str, int] = {}

    def of(self, reader: str) -> Callable[[int], None]:
        """Takes a reader's records behind the end."""

        def told(records: int) -> None:
            self._behind[reader] = records
            LAG.labels(self._service).set(sum(list(self._behind.values())))

        return told
