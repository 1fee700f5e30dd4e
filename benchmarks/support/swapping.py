"""A broker and a real inference replica with SmolLM2-135M, adapters that differ, and clients that stream answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
from benchmarks.support.http_load import HOST, request

from pawl_cli.running import ports
from pawl_cli.running.embedded_kafka import EmbeddedKafka
from pawl_cli.running.process import STEADY_HEAP, Program
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Producer
from pawl_shared.clock import SystemClock
from pawl_shared.codec import encode
from pawl_shared.events import DeployedVersion, DeploymentChanged
from pawl_shared.models import slot_format, tensor_file
from pawl_shared.models.graph_spec import GraphSpec, read_spec
from pawl_shared.topics import TOPICS

MODEL = "default/assistant"
PATIENCE_SECONDS = 180.0
TOKENS = 16
PROMPTS = (
    "How do I bake bread?",
    "Tell me about the sea.",
    "Why is the sky blue? Explain it to a child of five, please.",
    "Write a short poem about a cat that waits for the rain to end.",
)


class Replica:
    """One service process; deployments are put on its log by hand. Started by start(), ended by close()."""

    def __init__(self, folder: Path, graph_folder: Path, adapters: int, **environment: str) -> None:
        self._folder, self._graph_folder = folder, graph_folder
        self._broker = EmbeddedKafka(folder / "kafka")
        self._environment = environment
        self._count = adapters
        self._revision = 0
        self._producer: Producer
        self.program: Program
        self.port = 0
        self.versions: list[DeployedVersion] = []

    def start(self) -> None:
        """Up, with the base as the champion."""
        self._broker.start()
        bus = KafkaBus(self._broker.bootstrap_servers)
        bus.create_topics(TOPICS)
        self._producer = bus.producer("benchmark")
        self._artifacts()
        self.port = ports.choose(self._folder / "ports.json", {"inference": 0})["inference"]
        environment = {
            "PAWL_KAFKA_BOOTSTRAP_SERVERS": self._broker.bootstrap_servers,
            "PAWL_DATA_DIR": str(self._folder / "data"),
            "PAWL_HTTP_PORT": str(self.port),
        }
        command = [sys.executable, "-m", "pawl_inference"]
        log = self._folder / "inference.log"
        self.program = Program("inference", command, log, STEADY_HEAP | environment | self._environment)
        self.deploy(self.base)
        self.program.start()
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not self._ready():
            if time.monotonic() > give_up or self.program.poll() is not None:
                raise TimeoutError(f"the replica is not ready:\n{self.program.log_tail()}")
            time.sleep(0.1)

    def deploy(self, champion: DeployedVersion) -> float:
        """Make a version the champion; the moment (monotonic) when the log had the record."""
        self._revision += 1
        event = DeploymentChanged(
            id=uuid4(), time=SystemClock().now(), source="benchmark", model=MODEL, revision=self._revision,
            champion=champion, change="promoted",
        )  # fmt: skip
        self._producer.send(encode(event)).result(30)
        return time.monotonic()

    def close(self) -> None:
        """End both processes."""
        if hasattr(self, "program"):
            self.program.kill()
        self._broker.stop()

    @property
    def base(self) -> DeployedVersion:
        return DeployedVersion(version=self._spec.base, base=self._spec.base, graph=self._graph)

    def _ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://{HOST}:{self.port}/readyz", timeout=2).status_code == 200
        return False

    def _artifacts(self) -> None:
        store = ArtifactStore(f"file://{self._folder / 'data' / 'artifacts'}", self._folder / "data" / "artifact-cache")
        self._graph = store.put_folder(self._graph_folder)
        self._spec = read_spec(self._graph_folder)
        for seed in range(self._count):
            version = sha256(f"adapter {seed}".encode()).hexdigest()
            path = self._folder / "slots"
            slot_format.write_slots(
                path, random_arrays(self._spec, seed), adapter=version, base=self._spec.base, graph=self._graph,
                rank=self._spec.rank,
            )  # fmt: skip
            slot_file = store.put_file(path)
            self.versions.append(self.base.model_copy(update={"version": version, "slot_file": slot_file}))


def random_arrays(spec: GraphSpec, seed: int) -> tensor_file.Tensors:
    """A random adapter on all linear layers, strong enough that its answers are its own."""
    random = np.random.default_rng(seed)
    arrays: tensor_file.Tensors = {}
    for name, shape in slot_format.file_shapes(spec).items():
        arrays[name] = random.normal(0, 0.02, shape).astype(np.float32)
    return arrays


@dataclass
class Streamed:
    """A whole answer: who gave it, its text, and the seconds between the pieces."""

    version: str
    text: str
    gaps: list[float]


class StreamError(Exception):
    """A request that was not answered whole."""


class Streamer:
    """One client with a kept connection that reads answers as they are written."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, prompt: str, model: str = MODEL) -> Streamed:
        """Raises StreamError: another status than 200, or no end."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(HOST, self._port)
        body = {
            "model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": TOKENS, "temperature": 0,
            "stream": True,
        }  # fmt: skip
        self._writer.write(request("/v1/chat/completions", body))
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if " 200 " not in head.splitlines()[0]:
            raise StreamError(head)
        version = head.lower().partition("x-pawl-version: ")[2][:64]
        text, gaps, last = "", [], 0.0
        async for event in self._events():
            now = time.monotonic()
            if "error" in event:
                raise StreamError(str(event))
            content = "".join(choice["delta"].get("content", "") for choice in event["choices"])
            if content:
                text += content
                gaps += [now - last] if last else []
                last = now
        return Streamed(version, text, gaps)

    async def _events(self) -> AsyncIterator[dict]:  # type: ignore[type-arg]
        """The events of a chunked answer, until its end."""
        over, buffer = False, b""
        while True:
            size = int((await self._reader.readuntil(b"\r\n")).strip(), 16)
            content = (await self._reader.readexactly(size + 2))[:-2]
            if not size:
                if not over:
                    raise StreamError("the stream ended before [DONE]")
                return
            *events, buffer = (buffer + content).split(b"\n\n")
            for event in events:
                over = event == b"data: [DONE]"
                if not over:
                    yield json.loads(event.removeprefix(b"data: "))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


@dataclass
class Clients:
    """So many streams at once, one answer after the other, each compared with what its version says alone."""

    port: int
    expected: dict[tuple[str, str], str]
    gaps: list[float] = field(default_factory=list)
    answers: int = 0
    wrong: int = 0
    failed: list[str] = field(default_factory=list)
    over: bool = False

    async def run(self, count: int) -> None:
        """Until `over`."""
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self._one(number))

    async def _one(self, number: int) -> None:
        streamer = Streamer(self.port)
        while not self.over:
            number += 1
            prompt = PROMPTS[number % len(PROMPTS)]
            try:
                found = await streamer.ask(prompt)
            except (StreamError, OSError, asyncio.IncompleteReadError) as error:
                self.failed.append(repr(error)[:300])
                streamer.close()
                streamer = Streamer(self.port)
                continue
            self.answers += 1
            self.gaps += found.gaps
            self.wrong += found.text != self.expected[found.version, prompt]
        streamer.close()
