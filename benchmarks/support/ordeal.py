"""The monitor and its broker, killed with SIGKILL at random moments while events flow; then the books are audited.

Every `DOUBLED`-th event is published twice, as a restarted stream would. Moments are drawn from a seed: so many events
of progress, then up to a third of a second, so that kills fall into polls, folds, commits and checkpoints alike.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import httpx
from benchmarks.support import traffic
from prometheus_client.parser import text_string_to_metric_families

from pawl_cli.running import ports
from pawl_cli.running.embedded_kafka import EmbeddedKafka
from pawl_cli.running.process import Program
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.errors import BusError
from pawl_shared.topics import INTERACTIONS, TOPICS

DOUBLED = 100
CHUNK = 2_000
BROKER_SHARE = 0.25
PATIENCE_SECONDS = 300.0
COUNTED = (
    ("scores", "event_id", traffic.PER_SESSION),
    ("answers", "inference_id", 2),
    ("feedback", "feedback_id", 2),
    ("evidence", "session", 1),
)


@dataclass
class Outcome:
    """What the audit found, over all tables, and how long each restart took to its first row (seconds)."""

    lost: int
    doubled: int
    restarts: list[float] = field(default_factory=list)
    kills: dict[str, int] = field(default_factory=dict)


class Ordeal:
    """One broker and one monitor in a folder; `python` starts the monitor."""

    def __init__(self, folder: Path, python: str, events: int, seed: int) -> None:
        assert events % traffic.PER_SESSION == 0, "whole sessions only"
        self._folder, self._events, self._rng = folder, events, Random(seed)
        self._broker = EmbeddedKafka(folder / "kafka")
        self._broker.start()
        self._bus = KafkaBus(self._broker.bootstrap_servers)
        self._bus.create_topics(TOPICS)
        port = ports.choose(folder / "monitor-port.json", {"monitor": 0})["monitor"]
        self.url = f"http://{ports.HOST}:{port}"
        environment = {
            "PAWL_KAFKA_BOOTSTRAP_SERVERS": self._broker.bootstrap_servers,
            "PAWL_DATA_DIR": str(folder / "data"),
            "PAWL_HTTP_PORT": str(port),
            "PAWL_SESSION_GAP_SECONDS": "2",
            "PAWL_TICK_SECONDS": "0.5",
            "PAWL_GATHER_SECONDS": "0.1",
        }
        self.monitor = Program("monitor", [python, "-m", "pawl_monitor"], folder / "monitor.log", environment)
        self._client = httpx.Client(timeout=5)
        self._began: float | None = None
        self._restarts: list[float] = []
        self._published = threading.Event()

    def run(self, kills: int) -> Outcome:
        """Publish, kill so many times, let it catch up, stop it and audit."""
        publisher = threading.Thread(target=self._publish, name="publisher", daemon=True)
        counts = {"monitor": 0, "broker": 0}
        self._start()
        publisher.start()
        for moment in self._moments(kills):
            self._until(lambda moment=moment: self._rows() >= moment)
            time.sleep(self._rng.random() / 3)
            victim = "broker" if self._rng.random() < BROKER_SHARE else "monitor"
            counts[victim] += 1
            self._kill(victim)
        self._until(lambda: self._published.is_set() and self._caught_up())
        return self._audit(counts)

    def close(self) -> None:
        """End what is still running."""
        self.monitor.kill()
        self._broker.kill()
        self._client.close()

    # ------------------------------------------------------------ events

    def _publish(self) -> None:
        """All events, each at least once: a chunk that the broker did not take whole is published again."""
        producer = self._bus.producer("ordeal")
        producer.send(traffic.deployment()).result(120)
        for first, count in traffic.chunks(self._events, CHUNK):
            while True:
                try:
                    traffic.send(producer, first, count, DOUBLED)
                    break
                except BusError:
                    producer.close()
                    producer = self._producer()
        producer.close()
        self._published.set()

    def _producer(self) -> Any:
        while True:
            try:
                return self._bus.producer("ordeal")
            except BusError:
                time.sleep(0.2)

    # ------------------------------------------------------------ kills

    def _moments(self, kills: int) -> Iterator[int]:
        """Rows at which to kill: one in each equal stretch, none in the last, in which it catches up."""
        stretch = self._events // (kills + 1)
        return (int((number + self._rng.random()) * stretch) for number in range(kills))

    def _kill(self, victim: str) -> None:
        if victim == "monitor":
            self.monitor.kill()
            self._start()
        else:
            self._broker.kill()
            self._broker.start()

    def _start(self) -> None:
        self.monitor.start()
        self._began = time.monotonic()

    def _until(self, condition: Any) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > give_up:
                raise TimeoutError(f"nothing goes on; the monitor's log ends with:\n{self.monitor.log_tail()}")
            if self.monitor.poll() is not None:  # it ended itself, as it should when the broker is gone for long
                self._start()
            time.sleep(0.05)

    # ------------------------------------------------------------ progress

    def _rows(self) -> int:
        """Interactions in the database; 0 while nobody says. Notes when a new process has made its first rows."""
        answers, feedback = self._counts()
        if self._began is not None and self._handled() > 0:
            self._restarts.append(time.monotonic() - self._began)
            self._began = None
        return answers + feedback

    def _counts(self) -> tuple[int, int]:
        try:
            found = self._client.get(f"{self.url}/api/counts", params={"model": traffic.MODEL})
        except httpx.HTTPError:
            return 0, 0
        return (found.json()["answers"], found.json()["feedback"]) if found.status_code == 200 else (0, 0)

    def _handled(self) -> float:
        try:
            text = self._client.get(f"{self.url}/metrics").text
        except httpx.HTTPError:
            return 0.0
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "pawl_records_total"
            and (sample.labels["topic"], sample.labels["outcome"]) == (INTERACTIONS.name, "handled")
        )

    def _caught_up(self) -> bool:
        try:
            found = self._client.get(f"{self.url}/api/counts", params={"model": traffic.MODEL}).json()
        except httpx.HTTPError:
            return False
        wanted = self._events // traffic.PER_SESSION
        return bool(found.get("sessions", 0) >= wanted and found["answers"] + found["feedback"] >= self._events)

    # ------------------------------------------------------------ the books

    def _audit(self, counts: dict[str, int]) -> Outcome:
        self.monitor.terminate()
        if not self.monitor.wait(60):
            raise TimeoutError("the monitor does not stop")
        lost = doubled = 0
        with duckdb.connect(str(self._folder / "data" / "monitor" / "monitor.duckdb"), read_only=True) as books:
            for table, key, share in COUNTED:
                wanted = self._events * share // traffic.PER_SESSION
                sql = f"SELECT count(*), count(DISTINCT {key}) FROM {table}"
                rows, different = books.execute(sql).fetchone() or (0, 0)
                lost += wanted - different
                doubled += rows - different
            known = {str(identity) for (identity,) in books.execute("SELECT event_id FROM scores").fetchall()}
        lost += sum(str(traffic.identity(number)) not in known for number in range(self._events))
        return Outcome(lost, doubled, self._restarts, counts)
