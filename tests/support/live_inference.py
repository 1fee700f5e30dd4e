"""The whole inference service with the real decoder and a tiny real model, over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
from benchmarks.support.tiny_model import write_random_tiny
from support.api_keys import a_key
from support.http_service import serving
from support.inference import World
from support.tiny_engine import BASE, write_random_adapter

from pawl_cli.running.ports import any_free
from pawl_inference import app
from pawl_inference.settings import InferenceSettings
from pawl_shared.access.api_keys import Scope
from pawl_shared.events import DeployedVersion
from pawl_validator.onnx_export import export_base, pack_adapter


@dataclass
class Live:
    """A running service, its log, and versions to deploy."""

    world: World
    url: str
    base: DeployedVersion
    adapter: DeployedVersion
    broken: DeployedVersion
    key: str = "unused"

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0)


@contextmanager
def live_inference(folder: Path, *scopes: Scope) -> Iterator[Live]:
    """The base is deployed as `assistant`. With scopes, nobody may ask without the key that has them."""
    world = World(folder)
    spec = export_base(write_random_tiny(folder / "hf"), folder / "graph-tiny", base=BASE, precision="int8")
    graph = world.store.put_folder(folder / "graph-tiny")
    version = write_random_adapter(folder / "adapter", spec, seed=1, size=0.5)
    pack_adapter(folder / "adapter", folder / "graph-tiny", graph, folder / "slots")
    slot_file = world.store.put_file(folder / "slots")
    base = DeployedVersion(version=BASE, base=BASE, graph=graph)
    adapter = DeployedVersion(version=version, base=BASE, graph=graph, slot_file=slot_file)
    broken = DeployedVersion(version="e" * 64, base=BASE, graph=graph, slot_file=world.store.put_bytes(b"broken"))
    world.deploy(1, champion=base)
    port = any_free()
    settings = InferenceSettings(data_dir=folder / "data", http_port=port)
    key = a_key(folder / "data" / "keys" / "api.keys", *scopes) if scopes else "unused"
    with serving(app.build(settings, bus=world.bus, artifacts=world.store), port) as url:
        yield Live(world, url, base, adapter, broken, key)
