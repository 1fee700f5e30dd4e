"""Feedback over HTTP that the broker has acknowledged, one statement a post and 100 a post, on the embedded Kafka.

Peer in the same run, in turns: a bare FastAPI endpoint that hands the body to the same producer and awaits the broker.
It checks nothing: no token, no fields, no event. Both are processes of their own, under the same server.

Run: .venv/bin/python -m benchmarks.feedback_http [--quick]
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from uuid import UUID

import uvicorn
from benchmarks.harness import Benchmark, Run, Target, main
from benchmarks.support.http_load import HOST, Connection, request
from fastapi import FastAPI, Request

from pawl_cli.running.embedded_kafka import EmbeddedKafka
from pawl_cli.running.ports import any_free
from pawl_shared.access.tokens import Grant, KeyRing, sign
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Message
from pawl_shared.ids import uuid7
from pawl_shared.topics import FEEDBACK, TOPICS

CONNECTIONS = 32
SINGLES = 600  # posts a round
BATCHES, BATCH = 24, 100  # posts a round, statements a post
BATCH_CONNECTIONS = 8
READY_SECONDS = 120.0


# ---------------------------------------------------------------- the peer


def bare(port: int, kafka: str) -> None:
    """What is left of an endpoint when it only awaits the broker."""
    producer = KafkaBus(kafka).producer("bare")
    app = FastAPI()

    @app.post("/v1/feedback", status_code=202)
    async def post(posted: Request) -> dict[str, int]:
        body = await posted.body()
        await asyncio.wrap_future(producer.send(Message(FEEDBACK.name, None, body)))
        return {"accepted": 1}

    @app.get("/healthz")
    async def healthz() -> str:
        return "alive"

    uvicorn.run(app, host=HOST, port=port, log_config=None, access_log=False, lifespan="off")


# ---------------------------------------------------------------- the load


class Posts:
    """Requests of a client that knows its answers' tokens."""

    def __init__(self, key: bytes) -> None:
        self._ring, self._rng, self._count = KeyRing.of(key), Random(1), itertools.count()

    def single(self) -> bytes:
        return request("/v1/feedback", self._item())

    def batch(self) -> bytes:
        return request("/v1/feedback", {"events": [self._item() for _ in range(BATCH)]})

    def _item(self) -> dict[str, object]:
        now = datetime.now(UTC)
        answer = uuid7(now, self._rng)
        session = UUID(int=next(self._count)).hex
        token = sign(self._ring, Grant(answer, 0, "default/assistant", session, "0" * 32, now + timedelta(days=1)))
        return {"inference_id": str(answer), "token": token, "thumb": "up"}


async def post_all(port: int, requests: list[bytes], connections: int) -> None:
    """Every request once, over so many kept connections. Raises RuntimeError for any answer but 202."""
    left = iter(requests)

    async def work() -> None:
        connection = await Connection.to(port)
        with contextlib.closing(connection):
            for content in left:
                answered = await connection.exchange(content)
                if answered.status != 202:
                    raise RuntimeError(f"{answered.status}: {answered.body[:500]!r}")

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(work())


def posting(port: int, make: list[bytes], connections: int, events: int) -> Run:
    """Acknowledged events a second; the requests are made beforehand."""

    def run() -> float:
        start = time.perf_counter()
        asyncio.run(post_all(port, make, connections))
        return events / (time.perf_counter() - start)

    return run


# ---------------------------------------------------------------- the processes


@contextlib.contextmanager
def serving(command: list[str], port: int, log: Path, **environment: str) -> Iterator[None]:
    """A server process, from when it answers."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=os.environ | environment, stdout=output, stderr=output
        )
    try:
        give_up = time.monotonic() + READY_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=0.5):
        return True
    return False


def run() -> int:
    """Start everything, measure, end everything."""
    key, ours, theirs = secrets.token_bytes(32), any_free(), any_free()
    posts = Posts(key)
    singles = [posts.single() for _ in range(SINGLES)]
    batches = [posts.batch() for _ in range(BATCHES)]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pawl-benchmark-")))
        kafka = stack.enter_context(EmbeddedKafka(folder / "kafka")).bootstrap_servers
        KafkaBus(kafka).create_topics(TOPICS)
        settings = {
            "PAWL_KAFKA_BOOTSTRAP_SERVERS": kafka,
            "PAWL_DATA_DIR": str(folder / "data"),
            "PAWL_HTTP_PORT": str(ours),
            "PAWL_TOKEN_KEY": key.hex(),
        }
        stack.enter_context(serving(["pawl_inference"], ours, folder / "pawl.log", **settings))
        stack.enter_context(
            serving(["benchmarks.feedback_http", "bare", str(theirs), kafka], theirs, folder / "bare.log")
        )
        return main(
            Benchmark(
                name="feedback_http",
                unit="acknowledged events/s",
                variants={
                    "batches of 100": posting(ours, batches, BATCH_CONNECTIONS, BATCHES * BATCH),
                    "single posts": posting(ours, singles, CONNECTIONS, SINGLES),
                    "bare endpoint": posting(theirs, singles, CONNECTIONS, SINGLES),
                },
                targets=[
                    Target("batches of 100", at_least=2_000),
                    Target("single posts", peer="bare endpoint", at_least=0.5),
                ],
                libraries=["confluent-kafka", "fastapi", "uvicorn"],
            )
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["bare"]:
        bare(int(sys.argv[2]), sys.argv[3])
    else:
        sys.exit(run())
