"""llama.cpp's own server with the same model in Q8_0, where there is one (PAWL_LLAMA_SERVER, or `llama-server`)."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from pawl_cli.running import ports
from pawl_cli.running.process import Program
from pawl_shared.models import base_models

MISSING = (
    "llama.cpp's server was not measured: put its `llama-server` on PATH or name it by PAWL_LLAMA_SERVER "
    "(https://github.com/ggml-org/llama.cpp: cmake -B build && cmake --build build --target llama-server)"
)
PATIENCE_SECONDS = 120.0


def executable() -> str | None:
    """The server's program."""
    return os.environ.get("PAWL_LLAMA_SERVER") or shutil.which("llama-server")


class LlamaServer:
    """Started by start(), ended by close(). `slots`: answers at the same time, `context` tokens each."""

    def __init__(self, folder: Path, program: str, model: Path, *, threads: int, slots: int, context: int) -> None:
        self.port = ports.choose(folder / "llama-port.json", {"llama": 0})["llama"]
        command = [program, "-m", str(model), "--host", ports.HOST, "--port", str(self.port), "--jinja"]
        command += ["-t", str(threads), "-tb", str(threads), "-np", str(slots), "-c", str(slots * context)]
        self.program = Program("llama", command, folder / "llama.log", {})

    def start(self) -> None:
        """It answers. Raises TimeoutError with the end of its log."""
        self.program.start()
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up and self.program.poll() is None:
            try:
                if httpx.get(f"http://{ports.HOST}:{self.port}/health", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise TimeoutError(f"llama-server does not answer:\n{self.program.log_tail()}")

    def close(self) -> None:
        """End it."""
        self.program.kill()


def q8_0(path: Path) -> Path:
    """SmolLM2-135M in Q8_0 at `path`: the packaged file that Pawl's base is made of, its matrices quantised anew."""
    if path.exists():
        return path
    from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType, quants

    source = base_models.packaged_gguf()
    if source is None:
        raise FileNotFoundError("the model is not installed: pip install 'pawl[smollm2]'")
    reader = GGUFReader(str(source))
    unfinished = path.with_suffix(".partial")
    writer = GGUFWriter(str(unfinished), str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            sub_type = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type)
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    for tensor in reader.tensors:
        values: Any = quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if values.ndim < 2:
            writer.add_tensor(tensor.name, values)
        else:
            kind = GGMLQuantizationType.Q8_0
            writer.add_tensor(tensor.name, quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.rename(path)
    return path
