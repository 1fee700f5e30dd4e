"""Where an answer comes from: version, adapter, dataset, the feedback it learnt from, gates, the alarm behind it."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pawl_cli.follow import everything
from pawl_cli.monitor_client import MonitorClient, MonitorError
from pawl_cli.story import rate, short
from pawl_shared import events as e
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.bus import Bus
from pawl_shared.errors import PawlError
from pawl_shared.topics import CANDIDATES, DRIFT, MODELS, TRAINING

EXAMPLES = 3
T = TypeVar("T", bound=e.Event)


@dataclass(frozen=True)
class History:
    """The control events that a lineage is made of."""

    models: Sequence[e.Event]
    candidates: Sequence[e.Event]
    training: Sequence[e.Event]
    drift: Sequence[e.Event]


@dataclass(frozen=True)
class Lineage:
    """One answer's chain of causes; what does not exist (a base has no dataset) is None."""

    interaction: dict[str, Any]
    model: e.ModelRegistered | None = None
    adapter: e.AdapterTrained | None = None
    request: e.RetrainRequested | None = None
    validated: e.CandidateValidated | None = None
    alarm: e.DriftDetected | None = None
    manifest: dict[str, Any] = field(default_factory=dict)
    learnt_from: dict[str, Any] = field(default_factory=dict)
    examples: Sequence[dict[str, Any]] = ()

    def as_json(self) -> dict[str, Any]:
        """The chain in plain types; texts of examples included."""
        steps = {name: getattr(self, name) for name in ("model", "adapter", "request", "validated", "alarm")}
        return {
            "interaction": self.interaction,
            **{name: step.model_dump(mode="json") if step else None for name, step in steps.items()},
            "dataset": self.manifest or None,
            "learnt_from": self.learnt_from or None,
            "examples": list(self.examples),
        }


def read_history(bus: Bus) -> History:
    return History(*(everything(bus, topic) for topic in (MODELS, CANDIDATES, TRAINING, DRIFT)))


def explain(inference_id: str, history: History, monitor: MonitorClient, artifacts: ArtifactStore) -> Lineage:
    """The lineage of one answer. Raises MonitorError when the answer is not known."""
    interaction = monitor.interaction(inference_id)
    version = interaction.get("version")
    model = _last(history.models, e.ModelRegistered, lambda found: found.version == version)
    adapter = _last(history.candidates, e.AdapterTrained, lambda found: found.adapter == version)
    if adapter is None:
        return Lineage(interaction, model)
    learnt_from = _json_artifact(artifacts, adapter.trained_on)
    return Lineage(
        interaction,
        model,
        adapter,
        _last(history.training, e.RetrainRequested, lambda found: found.id == adapter.run),
        _last(history.candidates, e.CandidateValidated, lambda found: found.adapter == version),
        _last(history.drift, e.DriftDetected, lambda found: found.id == adapter.alarm),
        _manifest(artifacts, adapter.dataset),
        learnt_from,
        _examples(monitor, learnt_from.get("inference_ids", [])),
    )


def _last(found: Sequence[e.Event], cls: type[T], matches: Any) -> T | None:
    return next((event for event in reversed(found) if isinstance(event, cls) and matches(event)), None)


def _json_artifact(artifacts: ArtifactStore, digest: str | None) -> dict[str, Any]:
    if digest is None:
        return {}
    with contextlib.suppress(PawlError, ValueError):
        found: dict[str, Any] = json.loads(artifacts.read_bytes(digest))
        return found
    return {}


def _manifest(artifacts: ArtifactStore, dataset: str) -> dict[str, Any]:
    with contextlib.suppress(PawlError, OSError, ValueError):
        found: dict[str, Any] = json.loads((artifacts.fetch_folder(dataset) / "manifest.json").read_bytes())
        return found
    return {}


def _examples(monitor: MonitorClient, inference_ids: Sequence[str]) -> list[dict[str, Any]]:
    """A few answers that it learnt from; those with a person's own words first."""
    found: list[dict[str, Any]] = []
    for inference_id in inference_ids[: 4 * EXAMPLES]:
        with contextlib.suppress(MonitorError):
            found.append(monitor.interaction(inference_id))
    found.sort(key=lambda interaction: _correction(interaction) is None)
    return found[:EXAMPLES]


def _correction(interaction: dict[str, Any]) -> str | None:
    events = interaction.get("feedback_events", [])
    return next((event["text"] for event in events if event.get("kind") == "correction" and event.get("text")), None)


def lines(lineage: Lineage) -> list[str]:
    """The chain in sentences, from the answer back to what people said."""
    told = _answer_lines(lineage.interaction)
    if lineage.adapter is None:
        name = f" ({lineage.model.name})" if lineage.model else ""
        return [*told, f"That version is the base model{name}: it has learnt nothing from feedback."]
    adapter = lineage.adapter
    told.append(
        f"That version is an adapter, trained by {adapter.recipe} in {adapter.seconds:.0f} s (run {adapter.run}), "
        f"on base {short(adapter.base)}."
    )
    told += _dataset_lines(lineage)
    if lineage.validated:
        told += [f"Gate {gate.gate} passed: {gate.sentence}" for gate in lineage.validated.gates]
    if lineage.alarm:
        alarm = lineage.alarm
        told.append(f"It was trained because of an alarm ({alarm.id}): {alarm.sentence}")
        told.append(f"Approval was {rate(alarm.before)} sessions before, and {rate(alarm.after)} after.")
    return told


def _answer_lines(interaction: dict[str, Any]) -> list[str]:
    words = len(str(interaction.get("answer", "")).split())
    asked = _prompt(interaction)
    return [
        f"Asked: “{asked}”",
        f"Answered in {words} words by version {short(interaction.get('version'))} as {interaction.get('arm')}: "
        f"“{_cut(str(interaction.get('answer', '')))}”",
        *[_feedback_line(event) for event in interaction.get("feedback_events", [])],
    ]


def _dataset_lines(lineage: Lineage) -> list[str]:
    told = [f"It was trained on dataset {short(lineage.adapter.dataset if lineage.adapter else '')}"]
    if counts := lineage.manifest.get("counts"):
        told[0] += ": " + ", ".join(f"{name} {count}" for name, count in counts.items())
    if lineage.learnt_from:
        ids = lineage.learnt_from.get("feedback_ids", [])
        told.append(f"{len(ids)} pieces of feedback took part, among them:")
    for example in lineage.examples:
        said = [_feedback_line(event) for event in example.get("feedback_events", [])]
        told.append(f"  “{_prompt(example)}” → “{_cut(str(example.get('answer', '')), 80)}” {' '.join(said)}")
    return told


def _feedback_line(event: dict[str, Any]) -> str:
    kind, value, text = event.get("kind"), event.get("value"), event.get("text")
    if kind == "thumb":
        return "Somebody liked it." if value else "Somebody disliked it."
    if kind == "correction" and text:
        return f"Somebody rewrote it: “{_cut(str(text))}”"
    if kind == "comparison":
        return "Somebody preferred it to another answer." if value else "Somebody preferred another answer."
    return f"Somebody left a {kind}."


def _prompt(interaction: dict[str, Any]) -> str:
    messages = interaction.get("messages") or [{"content": ""}]
    return _cut(str(messages[-1].get("content", "")))


def _cut(text: str, length: int = 160) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"
