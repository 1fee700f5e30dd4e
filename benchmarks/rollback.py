"""From a rollback's command to the last answer of the version that it takes away, under load, on two replicas.

A real broker, a real validator and two real replicas with a tiny model. Each round promotes a candidate, waits until
both replicas serve it, and takes it back. Four connections a replica ask all the time, and evidence keeps coming. An
answer counts as begun when it is there, which is later: so what is measured is the time until the last one *came*.

By command: from `RollbackCommand`, given to a client that is connected. As typed: from the start of the process `pawl
rollback`, which finds out what serves, sends the command and tells its outcome; when it ends is a row of its own. By
force: the same with --force, the validator killed before. In the middle a replica is killed: once it is ready again, it
may not answer with what was taken away.

Run: .venv/bin/python -m benchmarks.rollback [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
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

QUICK, FULL = (12, 4, 3), (100, 40, 20)  # rollbacks by command, as typed, and by force
CONNECTIONS, PAUSE_SECONDS = 4, 0.05
EVIDENCE_A_SECOND = 50
AFTER_SECONDS = 1.0  # so long nothing of the old version may come before a round is over
LIMIT_SECONDS = 1.0
COMMAND = "by command, p99"
TYPED, TYPED_END = "pawl rollback, p99", "pawl rollback, to its end, p99"
FORCE, FORCE_END = "pawl rollback --force, validator killed, p99", "pawl rollback --force, to its end, p99"
PAWL = [sys.executable, "-m", "pawl_cli"]
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

    def typed(self, *words: str) -> tuple[float, float]:
        """Seconds until the last old answer, and until the command line has told its outcome."""
        served = self._promoted()
        if forced := "--force" in words:
            self.serving.validator.kill()
        where = ["--kafka-bootstrap-servers", self.serving.servers, "--data", str(self.serving.data)]
        began = time.monotonic()
        subprocess.run([*PAWL, "rollback", *words, *where], check=True, stdout=subprocess.DEVNULL)
        told = time.monotonic() - began
        seconds = self._last(served, began)
        if forced:
            self.serving.validator.start()
        return seconds, told

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


def measure(by_command: int, typed: int, by_force: int) -> tuple[dict[str, list[float]], int, int]:
    """Seconds of each rollback, old answers of restarted replicas, and answers in all."""
    with tempfile.TemporaryDirectory(prefix="pawl-rollback-") as folder:
        serving = Serving(Path(folder), versions=by_command + typed + by_force + 1)
        try:
            serving.start()
            load = Load(serving.urls)
            ordeal = Ordeal(serving, load)
            serving.ask(e.PromoteCommand, version=version(0))  # what is gone back to: an adapter, no longer loaded
            # leaves the byte code of what it imports, as any earlier command does
            subprocess.run([*PAWL, "rollback", "--help"], check=True, stdout=subprocess.DEVNULL)
            with load.running(), evidence(serving):
                values = rounds(ordeal, by_command, typed, by_force)
            return values, ordeal.stale, load.answers
        finally:
            serving.close()


def rounds(ordeal: Ordeal, by_command: int, typed: int, by_force: int) -> dict[str, list[float]]:
    """Seconds of each rollback."""
    values: dict[str, list[float]] = {name: [] for name in (COMMAND, TYPED, TYPED_END, FORCE, FORCE_END)}
    for number in range(by_command):
        values[COMMAND].append(ordeal.by_command(killed="b" if number == by_command // 2 else ""))
        print(f"{number + 1} of {by_command} by command: {values[COMMAND][-1]:.3f} s", flush=True)
    for count, words, last, end in ((typed, [], TYPED, TYPED_END), (by_force, ["--force"], FORCE, FORCE_END)):
        for number in range(count):
            seconds, told = ordeal.typed(*words)
            values[last].append(seconds)
            values[end].append(told)
            print(f"{number + 1} of {count} {' '.join(words)}: {seconds:.3f} s, told after {told:.3f} s", flush=True)
    return values


def p99(values: list[float]) -> float:
    """The smallest that at least 99 of 100 do not exceed: of fewer than 100 the largest."""
    ordered = sorted(values)
    return ordered[-(-99 * len(ordered) // 100) - 1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} instead of {FULL}: by command, typed, forced")
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
            Target(TYPED, at_most=LIMIT_SECONDS),
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
