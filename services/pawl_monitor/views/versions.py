"""The versions of a model: how each came in, which way it went and who wanted that, and how it does live."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from pawl_monitor.views.alarms import Rate
from pawl_shared import events as e

Fact = dict[str, Any]
VERSION_TYPES = (e.ModelRegistered.TYPE, e.StageChanged.TYPE, e.ApprovalChanged.TYPE)


class Move(BaseModel):
    """A stage that it came to, or a person's verdict."""

    time: datetime
    stage: str
    who: str
    reasons: list[str]


class Live(BaseModel):
    """How it does in sessions that it was drawn for; seconds are quantiles."""

    time: datetime
    sessions: int
    approval: Rate
    rated_share: Rate | None
    seconds: dict[str, float]
    since: datetime | None
    until: datetime | None


class Version(BaseModel):
    """One version. `waits`: for a person's approval of its canary, or of its promotion; empty: for nobody's."""

    version: str
    registered: Fact | None = None
    stage: str = ""
    waits: str = ""
    history: list[Move] = []
    live: Live | None = None

    @property
    def is_base(self) -> bool:
        """Whether it is a base model; of those nothing was trained here."""
        return self.registered is not None and self.registered["kind"] == "base"

    @property
    def has_card(self) -> bool:
        """Whether a model card was written of it."""
        return self.registered is not None and self.registered["card"] is not None


def versions_of(records: Sequence[Fact], figures: Sequence[Fact]) -> list[Version]:
    """All versions in `records` (registrations, stages, approvals), the latest that moved first.

    Args:
        figures: the latest VersionObserved of each.
    """
    found: dict[str, Version] = {}
    for record in sorted(records, key=lambda record: (record["position"] is not None, record["position"])):
        name = record["value"]["version"]
        known = found.pop(name, None) or Version(version=name)  # popped, so that who moved last comes last
        found[name] = known.model_copy(update=_update(known, record))
    for record in figures:
        name = record["value"]["version"]
        known = found.get(name, Version(version=name))
        found[name] = known.model_copy(update={"live": _live(record)})
    return list(reversed(found.values()))


def since_then(version: Version) -> str:
    """The part of a model card that goes on after it was written, as Markdown."""
    lines = ["## Since then", ""]
    lines += [
        f"- {move.time:%Y-%m-%d %H:%M:%S} UTC: {move.stage}, by {move.who}: {'; '.join(move.reasons) or 'no reason'}"
        for move in version.history
    ]
    if version.waits:
        lines.append(f"- It waits for a person's approval of its {version.waits}.")
    if (live := version.live) is not None:
        rate, share = live.approval, live.rated_share
        approval = f"approval {rate.point:.1%} ({rate.low:.1%} to {rate.high:.1%})" if rate.n else "nobody rated"
        rated = f", {share.point:.1%} rated" if share else ""
        times = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in sorted(live.seconds.items()))
        lines += ["", f"Live, in {live.sessions:,} sessions up to {live.until or live.time:%Y-%m-%d %H:%M} UTC:"]
        lines.append(f"{approval}{rated}" + (f"; {times}." if times else "."))
    return "\n".join(lines) + "\n"


def _update(known: Version, record: Fact) -> Fact:
    value, time = record["value"], record["time"]
    if record["type"] == e.ModelRegistered.TYPE:
        return {"registered": value | {"time": time}}
    if record["type"] == e.StageChanged.TYPE:
        move = Move(time=time, stage=value["stage"], who=value["who"], reasons=value["reasons"])
        return {"stage": value["stage"], "history": [*known.history, move]}
    waits = value["step"] if value["state"] == "requested" else ""
    if value["state"] not in ("approved", "rejected"):
        return {"waits": waits}
    verdict = Move(time=time, stage=f"{value['step']} {value['state']}", who=value["who"], reasons=value["reasons"])
    return {"waits": waits, "history": [*known.history, verdict]}


def _live(record: Fact) -> Live:
    names = ("sessions", "approval", "rated_share", "seconds", "since", "until")
    return Live(time=record["time"], **{name: record["value"][name] for name in names})
