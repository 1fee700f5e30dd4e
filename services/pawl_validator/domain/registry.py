"""The stages of a version, and which may follow which."""

from __future__ import annotations

from collections.abc import Mapping

from pawl_shared.events import Stage

# A retired version may come back: by rollback as champion, or when a person promotes it. A rejected one may not. What
# was validated beside a champion that serves no more is a candidate again.
NEXT: Mapping[Stage | None, frozenset[Stage]] = {
    None: frozenset({"candidate", "champion"}),
    "candidate": frozenset({"validated", "rejected", "retired"}),
    "validated": frozenset({"candidate", "canary", "champion", "retired", "rejected"}),
    "canary": frozenset({"champion", "retired", "rejected"}),
    "champion": frozenset({"retired", "rejected"}),
    "retired": frozenset({"champion"}),
    "rejected": frozenset(),
}

Stages = dict[str, Stage]


def move(stages: Stages, version: str, stage: Stage) -> tuple[Stages, Stage | None]:
    """Put `version` into `stage`; answers the new stages and the stage before.

    Raises:
        ValueError: that stage cannot follow.
    """
    before = stages.get(version)
    if stage not in NEXT[before]:
        raise ValueError(f"{version[:12]} is {before or 'not registered'} and cannot become {stage}")
    return {**stages, version: stage}, before
