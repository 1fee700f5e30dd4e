"""What an evaluation is told and what it answers."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pawl_shared.policies.model_policy import Gates, Probes
from pawl_validator.domain.gates import GateResult


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EvaluationSpec(Frozen):
    """spec.json of an evaluation: local copies of everything, and their digests."""

    model: str
    adapter: str = Field(description="digest that the candidate's file must have")
    adapter_file: Path
    base: str
    base_dir: Path
    graph: str
    graph_dir: Path
    champion: str
    champion_file: Path | None = Field(default=None, description="the champion's adapter; none: the base is champion")
    parent_file: Path | None = Field(default=None, description="the adapter that training began with")
    dataset: str
    dataset_dir: Path
    gates: Gates = Gates()
    probes: Probes = Probes()
    threads: int = Field(2, ge=1)


class Example(Frozen):
    """One probe prompt with all answers, for people."""

    prompt: str
    base: str
    champion: str
    candidate: str


class Report(Frozen):
    """report.json: every gate with its numbers, and by what it was measured."""

    format: str = "pawl.report.v1"
    model: str
    adapter: str
    base: str
    graph: str
    champion: str
    dataset: str
    passed: bool
    failed: tuple[str, ...]
    gates: tuple[GateResult, ...]
    examples: tuple[Example, ...] = ()
    probe_sets: dict[str, str] = Field(default_factory=dict, description="SHA-256 of each frozen probe set")
    policy: Gates
    probes: Probes
    device: str = ""
    seconds: dict[str, float] = Field(default_factory=dict)
