"""Brings a base model in, as a child process: `python -m pawl_validator.register JOB_DIR`.

Resolves the name, stores the folder, exports the serving graph unless the store has it, stores that, and answers both
digests in result.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pawl_shared import base_models
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.child import Progress, Reporter, run_child
from pawl_shared.errors import BaseModelError, ChildFailedError
from pawl_validator import onnx_export


class RegistrationSpec(BaseModel):
    """spec.json of a registration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    precision: Literal["int8", "fp32"]
    rank: int
    cache_dir: Path
    artifact_url: str
    artifact_cache: Path


def work(job_dir: Path, report: Reporter) -> dict[str, Any]:
    """The whole registration; answers what goes into result.json."""
    spec = RegistrationSpec.model_validate_json((job_dir / "spec.json").read_text(encoding="utf-8"))
    artifacts = ArtifactStore(spec.artifact_url, spec.artifact_cache)
    try:
        resolved = base_models.resolve(spec.base, spec.cache_dir / "bases", _bar(report, "base model", 0.0, 0.4))
        base = artifacts.put_folder(resolved.folder)
        graph = _graph(spec, resolved.folder, base, artifacts, job_dir, report)
    except BaseModelError as error:
        raise ChildFailedError(str(error)) from error
    return {"base": base, "graph": graph, "name": resolved.name, "licence": resolved.licence}


def _graph(
    spec: RegistrationSpec, folder: Path, base: str, artifacts: ArtifactStore, job_dir: Path, report: Reporter
) -> str:
    """The digest of the serving graph; a note remembers it, because an export takes most of a minute."""
    note = spec.cache_dir / "graphs" / f"{base}-{spec.precision}-{spec.rank}.json"
    if note.exists() and artifacts.exists(known := str(json.loads(note.read_text())["graph"])):
        return known
    out = job_dir / "graph"
    bar = _bar(report, "serving graph", 0.4, 0.95)
    onnx_export.export_base(folder, out, base=base, precision=spec.precision, rank=spec.rank, progress=bar)
    graph = artifacts.put_folder(out)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"graph": graph}))
    return graph


def _bar(report: Reporter, phase: str, start: float, end: float) -> base_models.Progress:
    def tell(fraction: float, message: str) -> None:
        done = start + (end - start) * min(1.0, max(0.0, fraction))
        report(Progress(phase=phase, step=round(100 * fraction), total=100, fraction=done, message=message))

    return tell


if __name__ == "__main__":
    run_child(work)
