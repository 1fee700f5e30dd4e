"""Brings a base model in, as a child process: `python -m pawl_validator.register JOB_DIR`.

Resolves the name, stores the folder, exports the serving graph unless the store has it, measures how far that is from
fp32, stores graph and card, and answers the digests in result.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event
from typing import Any

from pydantic import BaseModel, ConfigDict

from pawl_shared.artifacts import ArtifactStore
from pawl_shared.child import Progress, Reporter, run_child
from pawl_shared.errors import BaseModelError, ChildFailedError
from pawl_shared.models import base_models
from pawl_shared.models.graph_spec import Precision
from pawl_validator import base_card, onnx_export


class RegistrationSpec(BaseModel):
    """spec.json of a registration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    precision: Precision
    rank: int
    threads: int = 2
    cache_dir: Path
    artifact_url: str
    artifact_cache: Path


def work(job_dir: Path, report: Reporter) -> dict[str, Any]:
    """The whole registration; answers what goes into result.json."""
    spec = RegistrationSpec.model_validate_json((job_dir / "spec.json").read_text(encoding="utf-8"))
    artifacts = ArtifactStore(spec.artifact_url, spec.artifact_cache).patient(Event())  # who cancels ends the process
    try:
        resolved = base_models.resolve(spec.base, spec.cache_dir / "bases", _bar(report, "base model", 0.0, 0.4))
        base = artifacts.put_folder(resolved.folder)
        made = _graph(spec, resolved, base, artifacts, job_dir, report)
    except BaseModelError as error:
        raise ChildFailedError(str(error)) from error
    return {"base": base, "name": resolved.name, "licence": resolved.licence, "precision": spec.precision} | made


def _graph(
    spec: RegistrationSpec,
    resolved: base_models.ResolvedBase,
    base: str,
    artifacts: ArtifactStore,
    job_dir: Path,
    report: Reporter,
) -> dict[str, Any]:
    """Digests of graph and card, and the graph's fidelity. A note remembers them: an export takes most of a minute."""
    note = spec.cache_dir / "graphs" / f"{base}-{spec.precision}-{spec.rank}.json"
    known: dict[str, Any] = json.loads(note.read_text()) if note.exists() else {}
    if "card" in known and artifacts.exists(known["graph"]) and artifacts.exists(known["card"]):
        return known
    out, card = job_dir / "graph", job_dir / "card"
    bar = _bar(report, "serving graph", 0.4, 0.85)
    graph_spec = onnx_export.export_base(
        resolved.folder, out, base=base, precision=spec.precision, rank=spec.rank, progress=bar
    )
    graph = artifacts.put_folder(out)
    _bar(report, "precision", 0.85, 0.95)(0.0, "comparing the graph with the model in fp32")
    fidelity = base_card.measure(resolved.folder, out, spec.threads)
    size = sum(file.stat().st_size for file in out.iterdir())
    base_card.write_card(card, graph_spec, graph, size, resolved.licence, fidelity)
    made = {"graph": graph, "card": artifacts.put_folder(card), "fidelity": fidelity}
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(made))
    return made


def _bar(report: Reporter, phase: str, start: float, end: float) -> base_models.Progress:
    def tell(fraction: float, message: str) -> None:
        done = start + (end - start) * min(1.0, max(0.0, fraction))
        report(Progress(phase=phase, step=round(100 * fraction), total=100, fraction=done, message=message))

    return tell


if __name__ == "__main__":
    run_child(work)
