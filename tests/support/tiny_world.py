"""The inference service on a memory bus and real engines: a tiny base, its adapters, and a second whole model."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from support.inference import World
from support.tiny_engine import BASE, TinyServing

from pawl_inference.engine.onnx_engine import OnnxEngine
from pawl_inference.engine.port import Engine
from pawl_inference.engine.settings import EngineSettings
from pawl_inference.server import InferenceService
from pawl_shared.events import DeployedVersion
from pawl_shared.models import slot_format
from pawl_shared.models.graph_spec import GRAPH_FILE, read_spec
from pawl_validator.onnx_export import pack_adapter

QUESTION = "Why is the sky blue?"


@dataclass
class TinyWorld(World):
    """`settings`: of the engines that the service makes."""

    tiny: TinyServing = None  # type: ignore[assignment]  # the fields before it have defaults
    settings: EngineSettings = field(default_factory=EngineSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.graph = self.store.put_folder(self.tiny.graph_folder)
        self.spec = read_spec(self.tiny.graph_folder)

    def base(self) -> DeployedVersion:
        return DeployedVersion(version=BASE, base=BASE, graph=self.graph)

    def trained(self, number: int) -> DeployedVersion:
        """One of the tiny adapters, packed for the graph as it lies in the store."""
        version = self.tiny.versions[number]
        path = self.folder / f"{number}.slots"
        pack_adapter(self.tiny.adapter_files[version], self.tiny.graph_folder, self.graph, path)
        return self.base().model_copy(update={"version": version, "slot_file": self.store.put_file(path)})

    def whole(self, folder: Path) -> DeployedVersion:
        """A model as a version: a serving graph that is its own base."""
        base = read_spec(folder).base
        return DeployedVersion(version=base, base=base, graph=self.store.put_folder(folder))

    def make_engine(self, folder: Path, graph: str) -> Engine:  # type: ignore[override]
        return OnnxEngine(folder, graph, self.settings)


def answered(service: InferenceService, question: str = QUESTION, model: str = "assistant", tokens: int = 12) -> Any:
    """The body of a greedy answer."""
    body = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": tokens, "temperature": 0}
    response = TestClient(service.asgi).post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def text_of(body: Any) -> str:
    text = body["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


class Damage:
    """Versions with one thing wrong, put into the world's store under the digest of what is wrong (but for two)."""

    def __init__(self, world: TinyWorld) -> None:
        self._world = world
        self._version = world.trained(0)
        slot_file = world.store.fetch_file(str(self._version.slot_file))
        self._arrays = slot_format.read_slots(
            slot_file, world.spec, graph=world.graph, adapter=self._version.version
        ).arrays
        self._path = world.folder / "damaged"

    def version(self, fault: str) -> DeployedVersion:
        """By the name of the method that does it."""
        damaged = getattr(self, fault)()
        assert isinstance(damaged, DeployedVersion)
        return damaged

    def wrong_base(self) -> DeployedVersion:
        return self._marked(base="0" * 64)

    def base_of_another_graph(self) -> DeployedVersion:
        return self._version.model_copy(update={"base": "0" * 64})

    def wrong_graph(self) -> DeployedVersion:
        return self._marked(graph="0" * 64)

    def another_version(self) -> DeployedVersion:
        return self._marked(adapter="0" * 64)

    def wrong_rank(self) -> DeployedVersion:
        return self._marked(rank=self._world.spec.rank + 1)

    def wrong_shape(self) -> DeployedVersion:
        return self._changed(self._site, self._arrays[self._site][:-1])

    def not_a_number(self) -> DeployedVersion:
        return self._changed(self._site, self._one(np.nan))

    def infinite(self) -> DeployedVersion:
        return self._changed(self._site, self._one(np.inf))

    def too_large(self) -> DeployedVersion:
        return self._changed(self._site, self._one(1e6))

    def unknown_tensor(self) -> DeployedVersion:
        return self._changed("surprise", np.zeros(1, np.float32))

    def missing_tensor(self) -> DeployedVersion:
        del self._arrays[self._site]
        return self._marked()

    def truncated(self) -> DeployedVersion:
        self._marked()
        self._path.write_bytes(self._path.read_bytes()[:-100])
        return self._stored()

    def trained_format(self) -> DeployedVersion:
        shutil.copyfile(self._world.tiny.adapter_files[self._version.version], self._path)
        return self._stored()

    def digest_mismatch(self) -> DeployedVersion:
        """Its bytes were changed in the store."""
        self._path.write_bytes(b"changed in the store")
        digest = "ab" * 32
        target = self._world.folder / "artifacts" / "sha256" / digest[:2] / digest
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._path, target)
        return self._version.model_copy(update={"slot_file": digest})

    def missing(self) -> DeployedVersion:
        return self._version.model_copy(update={"slot_file": "cd" * 32})

    def broken_graph(self) -> DeployedVersion:
        folder = self._world.folder / "broken"
        shutil.copytree(self._world.tiny.graph_folder, folder, dirs_exist_ok=True)
        (folder / GRAPH_FILE).unlink()
        (folder / GRAPH_FILE).write_bytes(b"no graph")
        return self._world.whole(folder)

    @property
    def _site(self) -> str:
        return self._world.spec.sites[0].a

    def _one(self, value: float) -> Any:
        array = self._arrays[self._site].copy()
        array[0, 0] = value
        return array

    def _changed(self, name: str, array: Any) -> DeployedVersion:
        self._arrays[name] = array
        return self._marked()

    def _marked(self, **marks: Any) -> DeployedVersion:
        right = {"adapter": self._version.version, "base": BASE, "graph": self._world.graph}
        slot_format.write_slots(self._path, self._arrays, **(right | {"rank": self._world.spec.rank} | marks))
        return self._stored()

    def _stored(self) -> DeployedVersion:
        return self._version.model_copy(update={"slot_file": self._world.store.put_file(self._path)})
