"""The model card of a version: Markdown with Hugging Face metadata, and the same as JSON."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from pawl_shared.events import AdapterTrained
from pawl_validator.evaluation.report import Report

MARKDOWN = "README.md"
DATA = "card.json"


def write_card(
    folder: Path, trained: AdapterTrained, report: Report, manifest: dict[str, Any], slots: str | None
) -> None:
    """Write README.md and card.json into `folder`; everything in them comes from the arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    data = card_data(trained, report, manifest, slots)
    (folder / DATA).write_text(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False), encoding="utf-8")
    (folder / MARKDOWN).write_text(render(data), encoding="utf-8")


def card_data(trained: AdapterTrained, report: Report, manifest: dict[str, Any], slots: str | None) -> dict[str, Any]:
    """What a card says, as JSON types."""
    return {
        "format": "pawl.card.v1",
        "model": trained.model,
        "version": trained.adapter,
        "passed": report.passed,
        "failed": list(report.failed),
        "lineage": {
            "base": report.base,
            "graph": report.graph,
            "parent": trained.parent,
            "dataset": trained.dataset,
            "trained_on": trained.trained_on,
            "slot_file": slots,
            "run": str(trained.run),
            "alarm": None if trained.alarm is None else str(trained.alarm),
        },
        "data": {
            "since": manifest.get("since"),
            "until": manifest.get("until"),
            "counts": manifest.get("counts", {}),
        },
        "recipe": {
            "name": trained.recipe,
            "reasons": list(trained.reasons),
            "settings": trained.settings,
            "seed": trained.seed,
            "seconds": trained.seconds,
            "metrics": trained.metrics,
            "libraries": trained.libraries,
        },
        "gates": [gate.model_dump() for gate in report.gates],
        "compared_with": report.champion,
        "probe_sets": report.probe_sets,
        "device": report.device,
        "examples": [example.model_dump() for example in report.examples],
    }


def render(data: dict[str, Any]) -> str:
    """The card as Markdown."""
    return template("model_card.md.j2").render(**data)


def template(name: str) -> Template:
    """One of the cards' templates."""
    # Markdown for people, not HTML: escaping would spoil the answers that are quoted; quotes stand in code blocks.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701
    environment.filters["fenced"] = lambda text: "\n".join(f"    {line}" for line in str(text).splitlines()) or "    "
    return environment.from_string(files("pawl_validator").joinpath(f"templates/{name}").read_text(encoding="utf-8"))
