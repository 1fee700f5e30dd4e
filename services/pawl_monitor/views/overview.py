"""The state of one model's loop at a glance."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from pawl_monitor.domain.alerts import GONE
from pawl_monitor.domain.trigger_state import Usable
from pawl_monitor.domain.triggers import TriggerDecision
from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.domain.watched import Watched
from pawl_monitor.views.alarms import Alarm, Rate
from pawl_monitor.views.charts import Chart
from pawl_monitor.views.experiments import Experiment
from pawl_monitor.views.runs import Run
from pawl_monitor.views.story import Line, short
from pawl_monitor.views.versions import Version

Fact = dict[str, Any]
Phase = Literal["empty", "learning", "steady", "drifted", "training", "validating", "canary", "paused"]


class Headline(BaseModel):
    """Where the loop is, in a word, a sentence and what comes next."""

    phase: Phase
    title: str
    detail: str


class Counts(BaseModel):
    """What came in: in all, and in the last minute. Dead letters: those that nobody retried, and the others."""

    answers: int
    answers_recent: int
    feedback: int
    feedback_recent: int
    pairs: int
    sessions: int
    sessions_recent: int
    rated: int
    dead_letters: int
    dead_letters_retried: int = 0


class Reference(BaseModel):
    """The detector: how far it has learnt, its evidence for a drop (1 raises the alarm), its error budget, and what is
    proven of all detectors of the model."""

    sessions: int
    needed: int
    bound: float
    evidence: float
    references: int
    delta_spent: float
    guarantees: dict[str, str] = {}


class Canary(BaseModel):
    """A candidate on trial, as the validator reports it."""

    canary: str
    challenger: str
    share: float
    champion_rate: Rate | None = None
    challenger_rate: Rate | None = None
    promote_evidence: float = 0.0
    promote_threshold: float = 1.0
    rollback_evidence: float = 0.0
    rollback_threshold: float = 1.0


class Served(BaseModel):
    """Who answers. `pinned`: and stays, until somebody lifts the pin."""

    champion: str | None = None
    is_base: bool = True
    pinned: bool = False
    challenger: str | None = None
    share: float = 0.0
    revision: int = 0


class Replica(BaseModel):
    """One inference replica, as it last reported."""

    replica: str
    healthy: bool
    revision: int | None
    problems: list[str]


class Overview(BaseModel):
    """All of it. `policy`: the digest of the valid one; empty: nothing was configured."""

    model: str
    policy: str
    now: datetime
    headline: Headline
    counts: Counts
    served: Served
    approval: Rate | None
    window: int
    reference: Reference
    alarms: list[Alarm]
    trigger: TriggerDecision
    usable: Usable
    run: Run | None
    canary: Canary | None
    replicas: list[Replica]
    experiment: Experiment | None
    versions: list[Version]
    story: list[Line]
    chart: Chart


def reference_of(state: Watched | None, policy: WatchPolicy) -> Reference:
    """The detector's progress."""
    needed = policy.approval.n0
    if state is None:
        return Reference(sessions=0, needed=needed, bound=0, evidence=0, references=0, delta_spent=0)
    approval = state.approval
    return Reference(
        sessions=approval.n,
        needed=needed,
        bound=approval.bound[0].q,
        evidence=policy.approval.evidence(approval)["drop"],
        references=state.references,
        delta_spent=policy.delta_spent(state),
        guarantees=policy.guarantees,
    )


def canary_of(deployment: Fact | None, observations: list[Fact]) -> Canary | None:
    """The canary that the latest deployment runs, with its latest evidence; None when none runs."""
    value = deployment["value"] if deployment else None
    if not value or not value["challenger"] or not value["canary"]:
        return None
    base = Canary(canary=value["canary"], challenger=value["challenger"]["version"], share=value["share"])
    latest = next((o["value"] for o in observations if o["value"]["canary"] == value["canary"]), None)
    if latest is None:
        return base
    names = ("promote_evidence", "promote_threshold", "rollback_evidence", "rollback_threshold")
    rates = {"champion_rate": latest["champion"], "challenger_rate": latest["challenger"]}
    return Canary(**base.model_dump(exclude={*names, *rates}), **{n: latest[n] for n in names}, **rates)


def served_of(deployment: Fact | None) -> Served:
    """Who answers, by the latest deployment."""
    if deployment is None:
        return Served()
    value = deployment["value"]
    return Served(
        champion=value["champion"]["version"],
        is_base=value["champion"]["slot_file"] is None,
        pinned=value.get("pinned") is not None,
        challenger=value["challenger"]["version"] if value["challenger"] else None,
        share=value["share"],
        revision=value["revision"],
    )


def replicas_of(rows: list[Fact], model: str, now: datetime) -> list[Replica]:
    """Where each replica is that was heard of lately; one that died says nothing, and its last word stays stored."""
    return [
        Replica(
            replica=row["replica"],
            healthy=row["healthy"],
            revision=row["value"]["applied"].get(model),
            problems=row["value"]["problems"],
        )
        for row in rows
        if not row["value"].get("stopped") and now - row["time"] < GONE
    ]


def headline_of(
    counts: Counts,
    reference: Reference,
    alarms: list[Alarm],
    trigger: TriggerDecision,
    paused: str,
    run: Run | None,
    canary: Canary | None,
    versions: list[Version],
) -> Headline:
    """What matters most right now. The order is what a person would want to know first."""
    if not counts.answers:
        return Headline(phase="empty", title="Waiting for the first answer", detail="Ask the model something.")
    if paused:
        return Headline(phase="paused", title="The loop is paused", detail=f"{paused}.")
    if (waiting := next((each for each in versions if each.waits), None)) is not None:
        name = short(waiting.version)
        detail = f"{name}, for its {waiting.waits}: `pawl approve {name} --why …` or `pawl reject {name} --why …`."
        phase: Phase = "canary" if canary else "validating"
        return Headline(phase=phase, title="A version waits for a person's approval", detail=detail)
    if canary is not None:
        detail = f"{short(canary.challenger)} answers {canary.share:.0%} of the sessions; live evidence decides."
        return Headline(phase="canary", title="A candidate is on trial", detail=detail)
    if run is not None and not run.over:
        return _in_progress(run)
    alarm = next((a for a in alarms if a.open), None)
    if alarm is not None:
        title = f"Approval fell from {alarm.before.point:.0%} to {alarm.after.point:.0%}"
        return Headline(phase="drifted", title=title, detail=_sentence(trigger.sentence))
    if reference.sessions < reference.needed:
        left = reference.needed - reference.sessions
        if run is not None and run.status == "promoted":
            detail = f"{_sentence(run.sentence)} Learning its normal: {left} more rated sessions."
            return Headline(phase="learning", title="A better version serves", detail=detail)
        detail = f"{left} more rated sessions until a change can be told from chance."
        return Headline(phase="learning", title="Learning what normal looks like", detail=detail)
    return Headline(phase="steady", title="Steady", detail="Approval is what it was; every session is watched.")


def _in_progress(run: Run) -> Headline:
    if run.status in ("trained", "validated"):
        return Headline(phase="validating", title="A candidate is being examined", detail=run.sentence)
    detail = f"{run.phase}: step {run.step} of {run.total}." if run.total else run.sentence
    return Headline(phase="training", title="Training on the new feedback", detail=_sentence(detail))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
