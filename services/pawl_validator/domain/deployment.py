"""What serves a model: one champion, at most one challenger with a share of the sessions, and the way back. Or one
champion and an experiment (experiment.py).

Every function answers (deployment, changes). A change is one new revision, and becomes one DeploymentChanged; a command
that cannot be followed raises RefusedError with what to do instead, and changes nothing.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from pawl_shared.events import DeployedVersion, Experiment, Stage

Kind = Literal[
    "registered", "canary", "step", "promoted", "rolled-back", "paused", "resumed", "pinned", "unpinned",
    "experiment", "experiment-over",
]  # fmt: skip

HISTORY = 20  # earlier champions that are kept as rollback targets, and candidates that were taken away unharmed

NO_REASON = "no reason given"
NO_WAY_BACK = "there is no earlier champion to go back to"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RefusedError(Exception):
    """A command that the present state does not allow."""


class Approval(Frozen):
    """A person's yes."""

    who: str
    why: str = ""

    @property
    def sentence(self) -> str:
        return f"approved by {self.who}: {self.why or NO_REASON}"


class Waiting(Frozen):
    """A validated candidate.

    Args:
        run: names it; the canary id is made from it.
        beside: the champion that its gates measured it beside; none: not known.
        approval: of its canary.
    """

    served: DeployedVersion
    run: UUID
    beside: str | None = None
    approval: Approval | None = None


class Earned(Frozen):
    """What the evidence said when it reached what a promotion takes; a person's approval, or the end of a pause, is
    still to come."""

    reasons: tuple[str, ...]
    numbers: dict[str, float]


class Deployment(Frozen):
    """The state of one model.

    Args:
        pinned: the champion, when the model is to stay on it.
        earned: the challenger's evidence, once it suffices and its promotion has to wait.
        history: earlier champions, the latest last.
        withdrawn: candidates that passed the gates and whose canary ended without a verdict against them; and bases
            that were rolled back.
    """

    model: str
    revision: int = Field(ge=1)
    champion: DeployedVersion
    challenger: DeployedVersion | None = None
    share: float = Field(0.0, ge=0, le=1)
    canary: UUID | None = None
    paused: bool = False
    pinned: str | None = None
    earned: Earned | None = None
    history: tuple[DeployedVersion, ...] = ()
    withdrawn: tuple[DeployedVersion, ...] = ()
    queue: tuple[Waiting, ...] = ()
    experiment: Experiment | None = None


class Change(Frozen):
    """One revision: what happened, why, who asked, and which versions moved to which stage."""

    deployment: Deployment
    kind: Kind
    reasons: tuple[str, ...]
    who: str = "pawl"
    numbers: dict[str, float] = Field(default_factory=dict)
    stages: tuple[tuple[str, Stage], ...] = ()


def register(model: str, now: Deployment | None, base: DeployedVersion, who: str) -> Change | None:
    """The first deployment, or another base under the same name; None when that base already serves."""
    if now is None:
        first = Deployment(model=model, revision=1, champion=base)
        return Change(
            deployment=first,
            kind="registered",
            who=who,
            reasons=(f"base {base.version[:12]} serves {model}",),
            stages=((base.version, "champion"),),
        )
    if now.champion.base == base.base and now.champion.graph == base.graph:
        return None
    stages: list[tuple[str, Stage]] = [(now.champion.version, "retired"), (base.version, "champion")]
    stages += [(waiting.served.version, "retired") for waiting in now.queue]
    if now.challenger:
        stages.append((now.challenger.version, "retired"))
    changed = revise(now, champion=base, pinned=None, queue=(), withdrawn=(), **_ALONE, history=_remember(now))
    reason = f"base {base.version[:12]} replaces {now.champion.version[:12]}; adapters of the old base cannot be served"
    return Change(deployment=changed, kind="registered", who=who, reasons=(reason,), stages=tuple(stages))


def promote(now: Deployment, version: str, who: str, why: str) -> Change:
    """A person's promotion of the challenger, of a candidate that passed the gates, or of an earlier champion."""
    if version == now.champion.version:
        raise RefusedError(f"{version[:12]} already is the champion")
    if now.pinned is not None:
        raise RefusedError(f"{now.model} is pinned to {now.pinned[:12]}: `pawl unpin` first, or pin {version[:12]}")
    return take_over(now, find(now, version), (f"promoted by {who}: {why or NO_REASON}",), who, {})


def rollback(now: Deployment, who: str, why: str, version: str | None = None) -> Change:
    """Take the challenger away when a canary runs, else bring the previous champion back. A pin moves along.

    Args:
        version: what is meant to be taken away; none: whatever it is now.
    """
    if version is not None:
        still_there(version, now.champion, now.challenger)
    reason = f"rolled back by {who}: {why or NO_REASON}"
    if now.challenger is not None:
        return withdraw(now, now.challenger, (reason,), who, "rejected", {})
    if not now.history:
        raise RefusedError(NO_WAY_BACK)
    back = now.history[-1]
    base = now.champion.slot_file is None
    pinned = now.pinned and back.version
    changed = revise(now, champion=back, pinned=pinned, history=_targets(now, back, keep=base), **_ALONE)
    if base:  # never rejected: nothing is trained in its place, so there would be no way back to it
        shelved = {served.version: served for served in (*changed.withdrawn, now.champion)}
        changed = changed.model_copy(update={"withdrawn": tuple(shelved.values())[-HISTORY:]})
    return Change(
        deployment=changed,
        kind="rolled-back",
        who=who,
        reasons=(reason, f"{back.version[:12]} is champion again" + (", and pinned" if pinned else "")),
        stages=((now.champion.version, "retired" if base else "rejected"), (back.version, "champion")),
    )


def _targets(now: Deployment, back: DeployedVersion, keep: bool) -> tuple[DeployedVersion, ...]:
    """The way back from `back`. What was champion twice is no target any more, unless it may be kept."""
    targets = [served for served in now.history[:-1] if keep or served.version != now.champion.version]
    while targets and targets[-1].version == back.version:
        targets.pop()
    return tuple(targets)


def still_there(version: str, champion: DeployedVersion, challenger: DeployedVersion | None) -> None:
    """Whether a rollback still takes away what it was asked for: a copy of it, or one that something else was quicker
    than, would reject a version that nobody complained about. Raises RefusedError, which says what serves."""
    away = challenger or champion
    if version == away.version:
        return
    trial = f", and {away.version[:12]} is on trial" if challenger else ""
    if version == champion.version:
        raise RefusedError(f"{version[:12]} is champion{trial}: a rollback takes the trial away first")
    raise RefusedError(
        f"{version[:12]} does not serve any more: {champion.version[:12]} is champion{trial}. Nothing was rolled back; "
        f"`pawl rollback {away.version[:12]}` takes {'that trial' if challenger else 'the champion'} away"
    )


def pin(now: Deployment, version: str | None, who: str, why: str) -> Change:
    """Serve this version and stay on it, which ends a canary that runs; None lifts the pin."""
    if version is None:
        if now.pinned is None:
            raise RefusedError(f"{now.model} is not pinned")
        reason = f"unpinned by {who}: {why or NO_REASON}"
        return Change(deployment=revise(now, pinned=None), kind="unpinned", who=who, reasons=(reason,))
    if version == now.pinned:
        raise RefusedError(f"{now.model} is pinned to {version[:12]} already")
    reasons = (f"pinned by {who}: {why or NO_REASON}",)
    if version != now.champion.version:
        change = take_over(now, find(now, version), reasons, who, {})
        return change.model_copy(
            update={"kind": "pinned", "deployment": change.deployment.model_copy(update={"pinned": version})}
        )
    changed = revise(now, pinned=version, withdrawn=_shelved(now, version), **_ALONE)
    stages: tuple[tuple[str, Stage], ...] = ((now.challenger.version, "retired"),) if now.challenger else ()
    return Change(deployment=changed, kind="pinned", who=who, reasons=reasons, stages=stages)


def pause(now: Deployment, paused: bool, who: str, why: str) -> Change | None:
    """Stop (or allow again) new canaries and automatic promotions; rollback goes on, and what a canary earns meanwhile
    is remembered. None: it is so already."""
    if now.paused == paused:
        return None
    kind: Kind = "paused" if paused else "resumed"
    reason = f"{kind} by {who}: {why or NO_REASON}"
    return Change(deployment=revise(now, paused=paused), kind=kind, who=who, reasons=(reason,))


# Another champion also ends an experiment: its arms were compared beside the old one.
_ALONE: dict[str, object] = {"challenger": None, "share": 0.0, "canary": None, "experiment": None, "earned": None}


def revise(now: Deployment, **update: object) -> Deployment:
    """The next revision."""
    return now.model_copy(update={"revision": now.revision + 1, **update})


def find(now: Deployment, version: str) -> DeployedVersion:
    """A version that may serve. Raises RefusedError."""
    queued = [waiting.served for waiting in now.queue]
    trial = [now.challenger] if now.challenger else []
    for served in (*trial, *queued, *reversed(now.history), *now.withdrawn):
        if served.version == version:
            return served
    raise RefusedError(
        f"{version[:12]} cannot serve: it is no candidate that passed the gates for this base, and none of the last "
        f"{HISTORY} champions"
    )


def _shelved(now: Deployment, champion: str) -> tuple[DeployedVersion, ...]:
    """What may be promoted later, once this is champion and the challenger is not on trial any more."""
    kept = {served.version: served for served in (*now.withdrawn, *([now.challenger] if now.challenger else ()))}
    kept.pop(champion, None)
    return tuple(kept.values())[-HISTORY:]


def _remember(now: Deployment) -> tuple[DeployedVersion, ...]:
    return (*now.history, now.champion)[-HISTORY:]


def take_over(
    now: Deployment, served: DeployedVersion, reasons: tuple[str, ...], who: str, numbers: dict[str, float]
) -> Change:
    """Another champion. Raises RefusedError: it was made for another base."""
    if (served.base, served.graph) != (now.champion.base, now.champion.graph) and served.slot_file is not None:
        raise RefusedError(f"{served.version[:12]} was made for another base than the one that serves now")
    stages: list[tuple[str, Stage]] = [(now.champion.version, "retired"), (served.version, "champion")]
    if now.challenger is not None and now.challenger.version != served.version:
        stages.append((now.challenger.version, "retired"))
    changed = revise(
        now,
        champion=served,
        history=_remember(now),
        queue=tuple(w for w in now.queue if w.served.version != served.version),
        withdrawn=_shelved(now, served.version),
        **_ALONE,
    )
    return Change(deployment=changed, kind="promoted", reasons=reasons, who=who, numbers=numbers, stages=tuple(stages))


def withdraw(
    now: Deployment,
    challenger: DeployedVersion,
    reasons: tuple[str, ...],
    who: str,
    stage: Stage,
    numbers: dict[str, float],
) -> Change:
    """Take the challenger off its trial."""
    withdrawn = now.withdrawn if stage == "rejected" else _shelved(now, now.champion.version)
    return Change(
        deployment=revise(now, withdrawn=withdrawn, **_ALONE),
        kind="rolled-back",
        reasons=reasons,
        who=who,
        numbers=numbers,
        stages=((challenger.version, stage),),
    )
