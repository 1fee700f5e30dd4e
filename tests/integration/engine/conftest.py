"""One tiny model, exported once a session, with three adapters."""

from pathlib import Path

import pytest
from benchmarks.support.tiny_model import write_random_tiny
from support.tiny_engine import BASE, GRAPH, TinyServing, write_random_adapter

from pawl_validator.onnx_export import export_base, pack_adapter


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyServing:
    folder = tmp_path_factory.mktemp("tiny")
    hf_folder = write_random_tiny(folder / "hf")
    spec = export_base(hf_folder, folder / "int8", base=BASE, precision="int8")
    slot_files: dict[str, Path] = {}
    adapter_files: dict[str, Path] = {}
    for seed in range(3):
        path = folder / f"{seed}.adapter"
        version = write_random_adapter(path, spec, seed)
        slot_files[version] = folder / f"{seed}.slots"
        adapter_files[version] = path
        pack_adapter(path, folder / "int8", GRAPH, slot_files[version])
    return TinyServing(hf_folder, folder / "int8", slot_files, adapter_files)


@pytest.fixture
def anyio_backend() -> str:
    """The engine hands its chunks to an asyncio loop."""
    return "asyncio"
