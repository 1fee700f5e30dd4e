"""The whole service on the memory bus, with real child processes."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from benchmarks.support.tiny_model import write_random_tiny
from support.training import correction, thumb, write_snapshot

from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.codec import decode, encode
from pawl_shared.events import (
    AdapterTrained,
    Event,
    RetrainRequested,
    TrainingFailed,
    TrainingProgressed,
    TrainingStarted,
)
from pawl_shared.models.lora_format import read_adapter
from pawl_shared.stores.memory import MemoryStore
from pawl_shared.topics import CANDIDATES, TOPICS, TRAINING
from pawl_trainer.app import build
from pawl_trainer.settings import TrainerSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Stage:
    """A trainer service and what it stands on; `start()` may be called again after `stop()`, as a restart."""

    def __init__(self, folder: Path) -> None:
        self.settings = TrainerSettings(data_dir=folder, precision="fp32", training_threads=1, progress_seconds=0)
        self.bus, self.store = MemoryBus(), MemoryStore()
        self.bus.create_topics(TOPICS)
        self.artifacts = ArtifactStore(self.settings.artifacts, self.settings.artifact_cache)
        self.stopped, self.thread = threading.Event(), threading.Thread()

    def start(self) -> None:
        self.stopped = threading.Event()
        service = build(self.settings, bus=self.bus, store=self.store, artifacts=self.artifacts)
        self.thread = threading.Thread(target=service.run, args=(self.stopped,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join(timeout=30)
        assert not self.thread.is_alive()

    def ask(self, base: str, dataset: str, recipe: str = "auto") -> RetrainRequested:
        request = RetrainRequested(
            id=uuid.uuid4(), time=NOW, source="test", model="default/assistant", dataset=dataset, base=base,
            recipe=recipe, alarm=uuid.uuid4(), seed=3,
        )  # fmt: skip
        self.bus.producer("test").send(encode(request)).result()
        return request

    def events(self, run: uuid.UUID) -> list[Event]:
        records = [*self.bus.read(TRAINING.name), *self.bus.read(CANDIDATES.name)]
        events = [decode(record) for record in records if record is not None]
        return [event for event in events if getattr(event, "run", None) == run]

    def wait_for(self, condition: Callable[[], bool], seconds: float = 200) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not come"
            self.stopped.wait(0.05)

    def end_of(self, run: uuid.UUID) -> AdapterTrained | TrainingFailed:
        ends = (AdapterTrained, TrainingFailed)
        self.wait_for(lambda: any(isinstance(event, ends) for event in self.events(run)))
        (end,) = [event for event in self.events(run) if isinstance(event, ends)]
        return end


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path / "data")
    stage.start()
    yield stage
    stage.stop()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_tiny(tmp_path_factory.mktemp("base") / "tiny")


def snapshot(stage: Stage, folder: Path, corrections: int) -> str:
    rows = [correction(n) for n in range(corrections)] + [thumb(99, split="heldout")]
    return stage.artifacts.put_folder(write_snapshot(folder, rows))


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "pawl_trainer.run" in child.cmdline()]


@pytest.mark.slow
def test_a_request_ends_in_an_adapter_and_the_next_one_waits_for_it(stage: Stage, base: Path, tmp_path: Path) -> None:
    base_digest = stage.artifacts.put_folder(base)
    request = stage.ask(base_digest, snapshot(stage, tmp_path / "good", 12))
    second = stage.ask(base_digest, snapshot(stage, tmp_path / "good", 12), recipe="magic")
    trained = stage.end_of(request.id)
    assert isinstance(trained, AdapterTrained), trained
    assert (trained.recipe, trained.seed, trained.alarm, trained.cause) == ("dpo", 3, request.alarm, request.id)
    assert read_adapter(stage.artifacts.fetch_file(trained.adapter), base_digest).run == str(request.id)
    assert trained.trained_on is not None
    lineage = json.loads(stage.artifacts.read_bytes(trained.trained_on))
    assert lineage["feedback_ids"] == sorted(f"feedback-{n}" for n in range(12))
    assert lineage["preprocessing"]["counts"]["explicit_pairs"] == 12
    begun = [event for event in stage.events(request.id) if isinstance(event, TrainingStarted)]
    phases = [event.phase for event in stage.events(request.id) if isinstance(event, TrainingProgressed)]
    assert len(begun) == 1
    assert list(dict.fromkeys(phases)) == ["prepare", "load", "reference", "train", "save"]
    failed = stage.end_of(second.id)
    assert isinstance(failed, TrainingFailed)
    assert "no recipe 'magic'" in failed.reason
    waited = [event for event in stage.events(second.id) if isinstance(event, TrainingProgressed)]
    assert [event.phase for event in waited] == ["queued"]


def test_a_killed_child_is_a_failed_run_and_the_loop_goes_on(stage: Stage, base: Path, tmp_path: Path) -> None:
    base_digest = stage.artifacts.put_folder(base)
    killed = stage.ask(base_digest, snapshot(stage, tmp_path / "good", 12))
    stage.wait_for(lambda: bool(children()))
    children()[0].kill()
    end = stage.end_of(killed.id)
    assert isinstance(end, TrainingFailed)
    assert "was killed by SIGKILL" in end.reason
    lost = stage.ask("f" * 64, "e" * 64)
    end = stage.end_of(lost.id)
    assert isinstance(end, TrainingFailed)
    assert "no artifact ffffffffffff" in end.reason
    assert "PAWL_ARTIFACT_URL" in end.advice


def test_a_stop_ends_the_child_and_the_run_begins_again_with_the_next_start(
    stage: Stage, base: Path, tmp_path: Path
) -> None:
    request = stage.ask(stage.artifacts.put_folder(base), snapshot(stage, tmp_path / "good", 12))
    stage.wait_for(lambda: bool(children()))
    stage.stop()
    assert not children()
    assert not [event for event in stage.events(request.id) if isinstance(event, TrainingFailed)]
    stage.start()
    stage.wait_for(lambda: bool(children()))
