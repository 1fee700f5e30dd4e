"""From a rollback's command to the last answer of the version that it takes away, under load, on two replicas.

A real broker, a real validator and two real replicas with a tiny model. Each round promotes a candidate, waits until
both replicas serve it, and takes it back. Four connections a replica ask all the time, and evidence keeps coming. An
answer counts as begun when it is there, which is later: so what is measured is the time until the last one *came*.

By command: `RollbackCommand` on pawl.commands. By force: the validator is killed before, and the time begins with the
start of the process that does its work. In the middle a replica is killed: once it is ready again, it may not answer
with what was taken away.

Run: .venv/bin/python -m benchmarks.rollback [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from benchmarks.harness import MISSED, RESULTS, Benchmark, Target, judge, report, show
from benchmarks.support.http_load import Connection, request
from benchmarks.support.serving import BASE, MODEL, Serving, version
from rich.console import Console

from pawl_cli.log.outcome import carried_out
from pawl_shared import events as e
from pawl_shared.clock import SystemClock
from pawl_shared.codec import encode

QUICK, FULL = (12, 3), (100, 20)  # rollbacks by command, and by force
CONNECTIONS, PAUSE_SECONDS = 4, 0.05
EVIDENCE_A_SECOND = 50
AFTER_SECONDS = 1.0  # so long nothing of the old version may come before a round is over
LIMIT_SECONDS = 1.0
COMMAND, FORCE = "by command, p99", "by force, validator killed, p99"
STALE = "old answers of a replica that was ready again"


@dataclass
class Load:
    """Asks every replica all the time, and keeps when the latest answer of each version came."""

    urls: dict[str, str]
    latest: dict[str, float] = field(default_factory=dict)
    answers: int = 0
    over: bool = False

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=lambda: asyncio.run(self._all()), name="load", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.over = True
            thread.join(30)

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for name, url in self.urls.items():
                for _ in range(CONNECTIONS):
                    group.create_task(self._ask(name, int(url.rpartition(":")[2])))

    async def _ask(self, name: str, port: int) -> None:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "How do I bake bread?"}], "max_tokens": 4}
        asked = request("/v1/chat/completions", body)
        while not self.over:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                connection = await Connection.to(port)
                with contextlib.closing(connection):
                    while not self.over:
                        answered = await connection.exchange(asked)
                        if answered.status == 200:
                            self._note(name, answered.headers["x-pawl-version"])
                        await asyncio.sleep(PAUSE_SECONDS)
            await asyncio.sleep(PAUSE_SECONDS)

    def _note(self, name: str, served: str) -> None:
        self.answers += 1
        self.latest[served] = time.monotonic()
        self.latest[f"{name} {served}"] = time.monotonic()


@contextlib.contextmanager
def evidence(serving: Serving) -> Iterator[None]:
    """Sessions that the validator has to read before a command, as they arrived before it."""
    stop = threading.Event()

    def publish() -> None:
        producer, number = serving.bus.producer("evidence"), 0
        while not stop.wait(1 / EVIDENCE_A_SECOND):
            number, now = number + 1, SystemClock().now()
            session = e.SessionObserved(
                id=uuid4(), time=now, source="benchmark", model=MODEL, session=str(number), arm="champion",
                version=BASE, revision=1, reward=1.0, answers=1, rated=1, started=now, ended=now,
            )  # fmt: skip
            producer.send(encode(session))
        producer.close()

    thread = threading.Thread(target=publish, name="evidence", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


@dataclass
class Ordeal:
    """Rollbacks, one after the other. `stale`: answers with what a ready replica should not know any more."""

    serving: Serving
    load: Load
    number: int = 0
    stale: int = 0

    def by_command(self, killed: str = "") -> float:
        """Seconds. `killed`: a replica that is dead while it happens, and comes back after it."""
        served = self._promoted()
        if killed:
            self.serving.replicas[killed].kill()
        command = self.serving.command(e.RollbackCommand)
        began = time.monotonic()

        def send() -> None:
            nonlocal began
            began = time.monotonic()
            producer.send(encode(command)).result(30)

        producer = self.serving.bus.producer("ada")
        try:
            record = carried_out(self.serving.bus, command, 60, send)
        finally:
            producer.close()
        if killed:
            self.serving.replicas[killed].start()
            self.serving.until_ready(killed)
            ready = time.monotonic()
        self.serving.followed(record)
        seconds = self._last(served, began)
        if killed and self.load.latest.get(f"{killed} {served}", 0.0) > ready:
            self.stale += 1
        return seconds

    def by_force(self) -> float:
        """Seconds, with the start of the process that does it; the validator is dead, and comes back after it."""
        served = self._promoted()
        self.serving.validator.kill()
        command = self.serving.command(e.RollbackCommand).model_dump_json()
        environment = os.environ | {"PAWL_KAFKA_BOOTSTRAP_SERVERS": self.serving.servers}
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "pawl_validator.force", command], env=environment, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        seconds = self._last(served, began)
        self.serving.validator.start()
        return seconds

    def _promoted(self) -> str:
        """The next candidate, served by all replicas."""
        self.number += 1
        served = version(self.number)
        self.serving.ask(e.PromoteCommand, version=served)
        give_up = time.monotonic() + 30
        while any(f"{name} {served}" not in self.load.latest for name in self.serving.replicas):
            if time.monotonic() > give_up:
                raise TimeoutError(f"nobody was answered by {served}")
            time.sleep(0.02)
        return served

    def _last(self, served: str, began: float) -> float:
        """Waits until nothing of a version has come for a while."""
        while time.monotonic() < max(began, self.load.latest[served]) + AFTER_SECONDS:
            time.sleep(0.02)
        return max(0.0, self.load.latest[served] - began)


def measure(by_command: int, by_force: int) -> tuple[dict[str, list[float]], int, int]:
    """Seconds of each rollback, old answers of restarted replicas, and answers in all."""
    with tempfile.TemporaryDirectory(prefix="pawl-rollback-") as folder:
        serving = Serving(Path(folder), versions=by_command + by_force + 1)
        try:
            serving.start()
            load = Load(serving.urls)
            ordeal = Ordeal(serving, load)
            serving.ask(e.PromoteCommand, version=version(0))  # what is gone back to: an adapter, no longer loaded
            with load.running(), evidence(serving):
                values: dict[str, list[float]] = {COMMAND: [], FORCE: []}
                for number in range(by_command):
                    killed = "b" if number == by_command // 2 else ""
                    values[COMMAND].append(ordeal.by_command(killed))
                    print(f"{number + 1} of {by_command} by command: {values[COMMAND][-1]:.3f} s", flush=True)
                for number in range(by_force):
                    values[FORCE].append(ordeal.by_force())
                    print(f"{number + 1} of {by_force} by force: {values[FORCE][-1]:.3f} s", flush=True)
            return values, ordeal.stale, load.answers
        finally:
            serving.close()


def p99(values: list[float]) -> float:
    """The smallest that at least 99 of 100 do not exceed: of fewer than 100 the largest."""
    ordered = sorted(values)
    return ordered[-(-99 * len(ordered) // 100) - 1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK[0]} rollbacks, and {QUICK[1]} by force")
    quick = parser.parse_args().quick
    seconds, stale, answers = measure(*(QUICK if quick else FULL))
    values = {name: [p99(each)] * 2 for name, each in seconds.items()}
    values |= {name.replace("p99", "median"): each for name, each in seconds.items()} | {STALE: [float(stale)] * 2}
    benchmark = Benchmark(
        name="rollback",
        unit="seconds",
        variants={},
        targets=[
            Target(COMMAND, at_most=LIMIT_SECONDS),
            Target(FORCE, at_most=LIMIT_SECONDS),
            Target(STALE, at_most=0),
        ],
        libraries=["confluent-kafka", "onnxruntime"],
    )
    content = report(benchmark, values, judge(benchmark.targets, values), quick)
    content |= {"answers": answers, "seconds": seconds}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "rollback.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    show([content], Console())
    return 0 if all(result["met"] for result in content["results"]) else MISSED


if __name__ == "__main__":
    sys.exit(main())
