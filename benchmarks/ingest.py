"""How fast, and how evenly, the monitor takes in pawl.interactions, beside a kafka-python consumer that only polls.

The monitor is the real one: its runner, folds, DuckDB file, console and ticks, in a process of its own. In each round a
stretch of events is published, then the monitor takes them in and the bare consumer polls the same records. Sessions
close after a second, so that evidence is made, published and read back as well; those records count on both sides.

10,000,000 events; with --quick 100,000.

Run: .venv/bin/python -m benchmarks.ingest [--quick] [--events N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import MISSED, RESULTS, Benchmark, Target, judge, measure, report, show
from benchmarks.support import traffic
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console

from pawl_cli.running.embedded_kafka import EmbeddedKafka
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.kafka_consumer import MAX_POLL_RECORDS
from pawl_shared.topics import EVIDENCE, INTERACTIONS, TOPICS

QUICK, FULL = (100_000, 5), (10_000_000, 20)  # events, rounds
OURS, PEER = "pawl monitor", "kafka-python poll"
MEMORY, COMMIT = "growth of memory", "growth of a commit's time"


class Monitor:
    """The child process."""

    def __init__(self, servers: str, data: Path) -> None:
        environment = {
            **os.environ,
            "PAWL_KAFKA_BOOTSTRAP_SERVERS": servers,
            "PAWL_DATA_DIR": str(data),
            "PAWL_HTTP_PORT": "0",
            "PAWL_SESSION_GAP_SECONDS": "1",
            "PAWL_TICK_SECONDS": "1",
        }
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.support.monitor_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._read()
        self.pid = self._child.pid

    def take(self, count: int) -> dict[str, Any]:
        """Take in so many interactions."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{count}\n")
        self._child.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._child.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        while line := self._child.stdout.readline():
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                if "event" not in found:  # a log line
                    return found
        raise RuntimeError("the monitor has ended; its log is above")


class BareConsumer:
    """Polls and forgets, with the monitor's own options."""

    def __init__(self, servers: str) -> None:
        self._consumer = KafkaConsumer(
            bootstrap_servers=servers,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_poll_records=MAX_POLL_RECORDS,
        )
        self._parts = [TopicPartition(topic.name, n) for topic in (INTERACTIONS, EVIDENCE) for n in range(8)]
        self._consumer.assign(self._parts)
        self._consumer.seek_to_beginning(*self._parts)

    def take(self) -> float:
        """Read to the ends as they are; records per second."""
        ends = self._consumer.end_offsets(self._parts)
        count, began = 0, time.perf_counter()
        while any(self._consumer.position(part) < ends[part] for part in self._parts):
            count += sum(map(len, self._consumer.poll(timeout_ms=200).values()))
        return count / (time.perf_counter() - began)


class Rounds:
    """Publishes before each pair of readings, and keeps what the monitor said of itself."""

    def __init__(self, servers: str, data: Path, stretch: int) -> None:
        self._stretch = stretch
        self._producer = KafkaBus(servers).producer("benchmark")
        self._producer.send(traffic.deployment()).result(30)
        self._monitor, self._bare = Monitor(servers, data), BareConsumer(servers)
        self._published = 0
        self._turns: dict[str, int] = {OURS: 0, PEER: 0}
        self.said: list[dict[str, Any]] = []

    def monitor(self) -> float:
        self._publish(OURS)
        said = self._monitor.take(self._stretch)
        self.said.append(said)
        return float(said["records"] / said["seconds"])

    def poll(self) -> float:
        self._publish(PEER)
        return self._bare.take()

    def close(self) -> None:
        self._monitor.close()
        self._producer.close()

    def _publish(self, name: str) -> None:
        """Whoever is first in a round finds its stretch published."""
        self._turns[name] += 1
        if self._turns[name] > self._published:
            for first, count in traffic.chunks(self._stretch, 10_000):
                traffic.send(self._producer, self._published * self._stretch + first, count)
            self._published += 1


@contextmanager
def rounds(stretch: int) -> Iterator[Rounds]:
    with tempfile.TemporaryDirectory(prefix="pawl-ingest-") as folder, EmbeddedKafka(Path(folder) / "kafka") as broker:
        KafkaBus(broker.bootstrap_servers).create_topics(TOPICS)
        found = Rounds(broker.bootstrap_servers, Path(folder) / "data", stretch)
        try:
            yield found
        finally:
            found.close()


def growth(values: list[float]) -> float:
    """The last quarter beside the second one: the first warms up."""
    quarter = max(1, len(values) // 4)
    return statistics.mean(values[-quarter:]) / statistics.mean(values[quarter : 2 * quarter])


def benchmark(found: Rounds, quick: bool) -> Benchmark:
    flat = [] if quick else [Target(MEMORY, at_most=1.25), Target(COMMIT, at_most=1.25)]  # five rounds only warm up
    rate = [Target(OURS, peer=PEER, at_least=0.5), Target(OURS, at_least=5_000)]
    return Benchmark(
        name="ingest",
        unit="records/s; growth as a ratio",
        variants={OURS: found.monitor, PEER: found.poll},
        targets=[*rate, *flat],
        libraries=["confluent-kafka", "duckdb", "kafka-python", "pydantic", "pyarrow"],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 events")
    parser.add_argument("--events", type=int, help="how many, instead of 10,000,000")
    options = parser.parse_args()
    events, count = QUICK if options.quick else FULL
    with rounds((options.events or events) // count) as found:
        wanted = benchmark(found, options.quick)
        values = measure(wanted.variants, count)
        memory = growth([said["resident"] for said in found.said])
        commit = growth([said["commit_seconds"] / said["records"] for said in found.said])
    values |= {MEMORY: [memory, memory], COMMIT: [commit, commit]}
    content = report(wanted, values, judge(wanted.targets, values), options.quick)
    content["events"] = options.events or events
    content["stretches"] = found.said
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ingest.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    show([content], Console())
    return 0 if all(result["met"] for result in content["results"]) else MISSED


if __name__ == "__main__":
    sys.exit(main())
