"""`python -m pawl_inference.openapi [PATH]` writes the HTTP API's description (docs/openapi.json): the same code gives
the same bytes."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from pawl_inference import app
from pawl_inference.settings import InferenceSettings
from pawl_shared.buses.memory_bus import MemoryBus

DEFAULT = Path("docs/openapi.json")


def document() -> str:
    """The OpenAPI document as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        service = app.build(InferenceSettings(data_dir=Path(folder)), bus=MemoryBus())
        service.journal.close()
        return json.dumps(service.asgi.openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    path.write_text(document(), encoding="utf-8")
