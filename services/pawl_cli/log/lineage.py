"""Where an answer comes from: version, adapter, dataset, the feedback it learnt from, gates, the alarm behind it."""

import contextlib
import json
from typing import Any

from pawl_cli.log.follow import everything
from pawl_cli.log.story import short
from pawl_cli.monitor_client import MonitorClient
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.port import Bus
from pawl_shared.errors import PawlError
from pawl_shared.events import AdapterTrained
from pawl_shared.topics import CANDIDATES

EXAMPLES = 3
Facts = dict[str, Any]


def explain(inference_id: str, monitor: MonitorClient, bus: Bus, artifacts: ArtifactStore) -> Facts:
    """The monitor's account of an answer, and `learnt_from`: the feedback that really took part in its training.

    The snapshot holds more than that: held-out rows, and what preprocessing left out. Raises MonitorError when the
    answer is not known.
    """
    answer = monitor.interaction(inference_id)
    return answer | {"learnt_from": _learnt_from(answer["version"], bus, artifacts)}


def _learnt_from(version: str, bus: Bus, artifacts: ArtifactStore) -> Facts | None:
    """None for a base model, and when the artifact cannot be read: the rest of the lineage stands without it."""
    trained = (event for event in everything(bus, CANDIDATES) if isinstance(event, AdapterTrained))
    digest = next((event.trained_on for event in trained if event.adapter == version), None)
    if digest is None:
        return None
    with contextlib.suppress(PawlError, OSError, ValueError):
        found: Facts = json.loads(artifacts.read_bytes(digest))
        return found
    return None


def lines(answer: Facts) -> list[str]:
    """The account in sentences, from the answer back to what people said."""
    told = [
        f"Asked: “{_prompt(answer['messages'])}”",
        f"Answered {_by(answer)}: “{_cut(answer['answer'])}”",
        *[said for event in answer["feedback_events"] if (said := _said(event))],
    ]
    if answer["arm"] == "external":
        return told
    lineage = answer["lineage"]
    if lineage["kind"] == "base":
        name = (lineage.get("registered") or {}).get("name") or "see `pawl status`"
        return [*told, f"That version is the base model ({name}): it has learnt nothing from feedback."]
    run = lineage["run"]
    told.append(f"That version is an adapter, trained by {run['recipe']} in {run['seconds']:.0f} s (run {run['run']}).")
    told += _dataset(lineage["dataset"], answer["learnt_from"])
    told += [f"Gate {gate['gate']}: {gate['sentence']}" for gate in run["gates"]]
    told += [
        f"{change['change'].capitalize()}: {reason}"
        for change in lineage["deployments"]
        for reason in change["reasons"][:1]
    ]
    if alarm := lineage["alarm"]:
        told.append(f"It was trained because of alarm {alarm['alarm']}: {alarm['sentence']}")
    return told


def _dataset(dataset: Facts, learnt_from: Facts | None) -> list[str]:
    if "problem" in dataset:
        return [f"Its dataset cannot be read: {dataset['problem']}"]
    counts = dataset["manifest"]["counts"]
    told = [f"Its dataset is {short(dataset['digest'])}: " + ", ".join(f"{name} {n}" for name, n in counts.items())]
    if learnt_from:
        told.append(f"{len(learnt_from['feedback_ids'])} pieces of feedback took part in the training, such as:")
    # what people wrote themselves says more than a thumb
    examples = sorted(dataset["examples"], key=lambda example: example["kind"] != "pair")
    return told + [f"  {_example(example)}" for example in examples[:EXAMPLES]]


def _example(example: Facts) -> str:
    asked = _prompt(example["messages"])
    if example["kind"] == "pair":
        return f"“{asked}”: rather {_quoted(example['chosen'])} than {_quoted(example['rejected'])}"
    return f"“{asked}”: {'liked' if example['label'] else 'disliked'} “{_cut(example['completion'], 90)}”"


def _said(event: Facts) -> str:
    """One piece of feedback in a sentence; empty for kinds that say little by themselves."""
    match event["kind"], event["value"]:
        case "thumb", value:
            return f"Somebody {'liked' if value else 'disliked'} it."
        case "correction", _:
            return f"Somebody rewrote it: “{_cut(event['text'])}”"
        case "comparison", value:
            return f"Somebody preferred {'it to another answer' if value else 'another answer'}."
        case _:
            return ""


def _quoted(text: str) -> str:
    return f"“{_cut(text, 80)}” ({len(text.split())} words)"


def _by(answer: Facts) -> str:
    if answer["arm"] != "external":
        return f"by version {short(answer['version'])} as {_role(answer)}"
    names = " ".join(filter(None, (answer.get("provider"), answer.get("provider_model"))))
    return f"elsewhere, by {names}" if names else "elsewhere"


def _role(answer: Facts) -> str:
    arm = answer.get("experiment_arm")
    if not arm:
        return str(answer["arm"])
    prompted = ", with the arm's own system prompt" if answer.get("prompt_version") else ""
    return f"the arm {arm} of an experiment{prompted}"


def _prompt(messages: list[Facts]) -> str:
    return _cut(messages[-1]["content"])


def _cut(text: str | None, length: int = 160) -> str:
    flat = " ".join((text or "").split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"
