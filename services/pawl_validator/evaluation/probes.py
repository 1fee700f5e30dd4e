"""The frozen probe sets that ship with Pawl: our own sentences, the same for every model and every step.

`neutral_texts` (214) are facts and everyday sentences, scored for retention; `prompts` (207) are everyday requests,
answered for degeneration. Every item has a slice; a gate that takes fewer takes them evenly from the whole set.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

SetName = Literal["neutral_texts", "prompts"]
_FIELDS: dict[SetName, str] = {"neutral_texts": "text", "prompts": "prompt"}


@dataclass(frozen=True)
class Probe:
    """One item of a probe set."""

    id: str
    slice: str
    text: str


def load(name: SetName) -> list[Probe]:
    """All items of a set, in their order."""
    lines = _content(name).decode().splitlines()
    return [Probe(row["id"], row["slice"], row[_FIELDS[name]]) for row in map(json.loads, lines)]


def spread(probes: list[Probe], count: int) -> list[Probe]:
    """`count` of them at even distances, so that every slice keeps its part; all when there are not more."""
    if count >= len(probes):
        return probes
    return [probes[index * len(probes) // count] for index in range(count)]


def digest(name: SetName) -> str:
    """SHA-256 of a set: two reports with the same digest asked the same."""
    return hashlib.sha256(_content(name)).hexdigest()


def _content(name: SetName) -> bytes:
    return files("pawl_validator.evaluation").joinpath(f"probes/{name}.jsonl").read_bytes()
