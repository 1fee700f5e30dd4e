"""The inference service on a memory bus and a fake engine, and deployments for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any
from uuid import UUID

from support.fake_engine import FakeEngine
from support.sealing import ring_of

from pawl_inference import app
from pawl_inference.server import InferenceService
from pawl_inference.settings import InferenceSettings
from pawl_shared import codec
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.clock import SystemClock
from pawl_shared.events import DeployedVersion, DeploymentChanged, Event
from pawl_shared.ids import uuid7
from pawl_shared.sealed.events import opened
from pawl_shared.topics import TOPICS, Topic

MODEL = "default/assistant"


def digest(name: str) -> str:
    return sha256(name.encode()).hexdigest()


BASE = digest("base")
CANARY = UUID(int=7)


@dataclass
class World:
    """What is around the service."""

    folder: Path
    bus: MemoryBus = field(default_factory=MemoryBus)
    engines: list[FakeEngine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bus.create_topics(TOPICS)
        self.store = ArtifactStore(f"file://{self.folder / 'artifacts'}", self.folder / "cache")
        graph = self.folder / "graph"
        graph.mkdir(exist_ok=True)
        (graph / "chat_template.jinja").write_text("template")
        self.graph = self.store.put_folder(graph)

    @property
    def engine(self) -> FakeEngine:
        return self.engines[-1]

    def base(self) -> DeployedVersion:
        return DeployedVersion(version=BASE, base=BASE, graph=self.graph)

    def adapter(self, name: str) -> DeployedVersion:
        slot_file = self.store.put_bytes(name.encode())
        return DeployedVersion(version=digest(name), base=BASE, graph=self.graph, slot_file=slot_file)

    def deploy(self, revision: int, **fields: Any) -> DeploymentChanged:
        """Publish a revision; the base is the champion unless another one is given."""
        now = SystemClock().now()
        event = DeploymentChanged(
            id=uuid7(now, Random(revision)),
            time=now,
            source="test",
            model=fields.pop("model", MODEL),
            revision=revision,
            champion=fields.pop("champion", None) or self.base(),
            change=fields.pop("change", "registered"),
            **fields,
        )
        self.send(event)
        return event

    def send(self, event: Event) -> None:
        self.bus.producer("test").send(codec.encode(event)).result(5)

    def read(self, topic: Topic) -> list[Any]:
        """Every event of a topic, its texts opened."""
        events = [codec.decode(record) for record in self.bus.read(topic.name) if record is not None]
        ring = ring_of(self.bus, self.folder / "data")
        return [opened(event, ring) for event in events]

    def make_engine(self, folder: Path, graph: str) -> FakeEngine:
        self.engines.append(FakeEngine(BASE, graph))
        return self.engines[-1]

    def build(self, **settings: Any) -> InferenceService:
        return app.build(
            InferenceSettings(data_dir=self.folder / "data", **settings),
            bus=self.bus,
            artifacts=self.store,
            make_engine=self.make_engine,
        )


@contextmanager
def running(world: World, **settings: Any) -> Iterator[InferenceService]:
    """A service whose threads run."""
    service = world.build(**settings)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def eventually(condition: Callable[[], Any], timeout: float = 30.0) -> Any:
    """Wait for a condition to hold, and answer what it gave."""
    give_up = monotonic() + timeout
    while not (found := condition()):
        assert monotonic() < give_up, "waited in vain"
        sleep(0.005)
    return found
