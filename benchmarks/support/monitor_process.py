"""The real monitor in a process of its own, whose reading can be held: what a benchmark measures is then ready first.

Reads a line for each stretch from its standard input: so many interactions are read, then reading stops. Answers each
with a line of JSON. Started by benchmarks/ingest.py.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY

from pawl_monitor.app import build
from pawl_monitor.settings import MonitorSettings
from pawl_shared import metrics
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Consumer, OnAssigned, OnRevoked, Partition, Record
from pawl_shared.topics import INTERACTIONS


class HeldConsumer:
    """Reads only while the gate is open."""

    def __init__(self, consumer: Consumer, gate: threading.Event) -> None:
        self._consumer, self._gate = consumer, gate

    def poll(self, timeout: float) -> Sequence[Record]:
        self._gate.wait()
        return self._consumer.poll(timeout)

    def hold(self, partitions: Collection[Partition]) -> None:
        self._consumer.hold(partitions)

    def ends(self) -> Mapping[Partition, int]:
        return self._consumer.ends()

    def reached(self, ends: Mapping[Partition, int]) -> Collection[Partition]:
        return self._consumer.reached(ends)

    def lag(self) -> int:
        return self._consumer.lag()

    def close(self) -> None:
        self._consumer.close()


class HeldBus(KafkaBus):
    """KafkaBus whose consumers can be held."""

    gate = threading.Event()

    def consumer(  # type: ignore[override]
        self, group: str, instance: str, topics: Sequence[str], on_assigned: OnAssigned, on_revoked: OnRevoked
    ) -> HeldConsumer:
        return HeldConsumer(super().consumer(group, instance, topics, on_assigned, on_revoked), self.gate)


def handled(topic: str | None = None) -> float:
    """Records that were handled and committed."""
    samples = (sample for metric in metrics.RECORDS.collect() for sample in metric.samples)
    return sum(
        sample.value
        for sample in samples
        if sample.name == "pawl_records_total"
        and sample.labels["outcome"] == "handled"
        and topic in (None, sample.labels["topic"])
    )


def sample(name: str) -> float:
    """One number of the runner's own metrics."""
    return REGISTRY.get_sample_value(name, {"service": "monitor"}) or 0.0


def resident() -> int:
    """Bytes of memory that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def stretch(count: int, before: float, gate: threading.Event) -> dict[str, Any]:
    """Open the gate until `count` interactions more are committed."""
    commits, seconds, records = sample("pawl_commit_seconds_count"), sample("pawl_commit_seconds_sum"), handled()
    began = time.perf_counter()
    gate.set()
    while handled(INTERACTIONS.name) < before + count or sample("pawl_commit_seconds_count") == commits:
        time.sleep(0.05)  # asking more often would take time from what is measured
    took = time.perf_counter() - began
    gate.clear()
    return {
        "seconds": took,
        "records": handled() - records,
        "commits": sample("pawl_commit_seconds_count") - commits,
        "commit_seconds": sample("pawl_commit_seconds_sum") - seconds,
        "resident": resident(),
    }


def main() -> None:
    settings = MonitorSettings()
    bus = HeldBus(settings.kafka_bootstrap_servers)
    service = build(settings, bus=bus)
    stop = threading.Event()
    working = threading.Thread(target=service.run, args=[stop])
    working.start()
    print(json.dumps({"ready": True}), flush=True)
    total = 0.0
    for line in sys.stdin:
        count = int(line)
        print(json.dumps(stretch(count, total, bus.gate)), flush=True)
        total += count
    bus.gate.set()
    stop.set()
    working.join()


if __name__ == "__main__":
    main()
