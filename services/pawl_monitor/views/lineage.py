"""Where an answer came from: version, adapter, data set, the feedback it learnt from, gates, and its alarm."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.parquet as pq

from pawl_monitor.storage.reader import Reader
from pawl_monitor.storage.texts import Texts
from pawl_monitor.views.alarms import ALARM_TYPES, alarms_of
from pawl_monitor.views.runs import MOST_STEPS, STEPS, runs_of
from pawl_monitor.views.versions import VERSION_TYPES, Version, since_then, versions_of
from pawl_shared import events as e
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.errors import ArtifactError

Fact = dict[str, Any]
EXAMPLES = 5


class Lineage:
    """Follows digests and ids from an answer back to the feedback that shaped it."""

    def __init__(self, reader: Reader, artifacts: ArtifactStore, texts: Texts) -> None:
        self._reader, self._artifacts, self._texts = reader, artifacts, texts

    def explain(self, inference_id: str) -> Fact | None:
        """An answer with its feedback and lineage; None when the answer is not known."""
        answer = self._reader.interaction(inference_id)
        if answer is None:
            return None
        return self._texts.interaction(answer) | {"lineage": self.version(answer["model"], answer["version"])}

    def version(self, model: str, version: str) -> Fact:
        """A version's history. A base model has none but its registration."""
        runs = runs_of(self._reader.records(model, STEPS, MOST_STEPS))
        run = next((run for run in runs if run.adapter == version), None)
        here = self._version(model, version)
        known: Fact = {
            "version": version,
            "kind": "base" if run is None and (here.registered is None or here.is_base) else "adapter",
            "registered": here.registered,
            "live": here.live.model_dump(mode="json") if here.live else None,
            "history": [move.model_dump(mode="json") for move in here.history],
        }
        if run is None:
            return known
        alarms = {alarm.alarm: alarm for alarm in alarms_of(self._reader.records(model, ALARM_TYPES))}
        alarm = alarms.get(run.alarm or "")
        return known | {
            "run": run.model_dump(mode="json"),
            "alarm": alarm.model_dump(mode="json") if alarm else None,
            "dataset": self.dataset(run.dataset),
            "deployments": self._deployments(model, version),
        }

    def card(self, model: str, version: str) -> str | None:
        """A version's model card as Markdown, with what became of it since; None when it has none."""
        here = self._version(model, version)
        digest = (here.registered or {}).get("card")
        if digest is None:
            return None
        try:
            card = (self._artifacts.fetch_folder(digest) / "README.md").read_text(encoding="utf-8")
        except (ArtifactError, OSError) as error:
            card = f"The card {digest} cannot be read: {error}\n"
        return f"{card.rstrip()}\n\n{since_then(here)}"

    def dataset(self, digest: str) -> Fact:
        """A snapshot's manifest, the ids of the feedback in it, and a few of its rows."""
        try:
            folder = self._artifacts.fetch_folder(digest)
            manifest = json.loads((folder / "manifest.json").read_text())
        except FileNotFoundError:
            return {"digest": digest, "problem": f"artifact {digest[:12]} is no data set"}
        except (ArtifactError, OSError) as error:
            return {"digest": digest, "problem": str(error)}
        lines = pq.read_table(folder / "data.parquet").to_pylist()
        train = [line for line in lines if line["split"] == "train"]
        names = (
            "kind",
            "origin",
            "messages",
            "completion",
            "chosen",
            "rejected",
            "label",
            "feedback_ids",
            "inference_ids",
        )
        return {
            "digest": digest,
            "manifest": {name: value for name, value in manifest.items() if name != "sql"},
            "feedback_ids": [identity for line in train for identity in line["feedback_ids"]],
            "examples": [{name: line[name] for name in names} for line in train[:EXAMPLES]],
        }

    def _version(self, model: str, version: str) -> Version:
        seen = versions_of(self._reader.records(model, VERSION_TYPES, 5000), self._reader.live(model))
        return next((each for each in seen if each.version == version), Version(version=version))

    def _deployments(self, model: str, version: str) -> list[Fact]:
        found = self._reader.records(model, (e.DeploymentChanged.TYPE,))
        return [
            {"time": r["time"], "change": r["value"]["change"], "reasons": r["value"]["reasons"]}
            for r in reversed(found)
            if version in (r["value"]["champion"]["version"], (r["value"]["challenger"] or {}).get("version"))
        ]
