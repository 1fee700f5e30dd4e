"""Where the demo stands, as a fold over facts. Pure.

The demo itself decides three things only: when the crowd's taste changes, how busy the crowd is, and when it has seen
enough. Alarm, snapshot, training, gates, canary and promotion are facts that come from the services.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import UUID

from pawl_shared import events as e

Kind = Literal["shift", "no-shift", "bad-data"]
PHASES = ("setup", "before", "detect", "collect", "train", "validate", "canary", "after")
BUSY = {"visitors": 6, "pause": 0.0}
# Training takes all of two cores; fewer visitors in that time are the crowd's night.
QUIET = {"visitors": 1, "pause": 2.0}


@dataclass(frozen=True)
class Plan:
    """What this run of the demo is for. Counts are rated sessions."""

    kind: Kind = "shift"
    before: int = 240  # the detector learns its reference from the first 200 of these
    after: int = 220
    control: int = 600  # how long a control run looks for what must not happen


@dataclass(frozen=True)
class Rated:
    """A rated session of the crowd ended."""

    audience: str


@dataclass(frozen=True)
class Ready:
    """The services answer and the crowd may come."""


Fact = Rated | Ready | e.Event


@dataclass(frozen=True)
class State:
    """Times are seconds since the epoch. `seconds` adds up over repeated visits to a phase."""

    phase: str = "setup"
    since: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    rated: int = 0  # rated sessions since the phase began
    shifted: float | None = None
    marks: tuple[tuple[float, str], ...] = ()
    ids: dict[str, str] = field(default_factory=dict)
    early_alarms: int = 0
    rejections: tuple[str, ...] = ()
    promoted: bool = False
    finished: bool = False


Orders = tuple[dict[str, Any], ...]


def begin(now: float) -> State:
    return State(since=now)


def step(plan: Plan, state: State, now: float, fact: Fact) -> tuple[State, Orders]:
    """Take a fact in; answers the new state and the orders for the crowd."""
    match fact:
        case Ready():
            return _enter(state, "before", now), (dict(BUSY),)
        case Rated():
            return _rated(plan, replace(state, rated=state.rated + 1), now)
        case e.DriftDetected():
            return _alarm(state, now, fact)
        case e.RetrainRequested():
            state = _mark(state, now, "training", run=fact.id, dataset=fact.dataset)
            return _enter(state, "train", now), (dict(QUIET),)
        case e.AdapterTrained():
            return _enter(_mark(state, now, "trained", adapter=fact.adapter), "validate", now), ()
        case e.TrainingFailed():
            return _failed(plan, state, now, "training failed", fact.reason)
        case e.CandidateRejected():
            return _failed(plan, state, now, "rejected", "; ".join(fact.reasons))
        case e.DeploymentChanged():
            return _deployment(plan, state, now, fact)
        case _:
            return state, ()


def close(state: State, now: float) -> State:
    """The end, for whatever reason: the running phase gets its seconds."""
    return replace(_enter(state, state.phase, now), finished=True)


def _rated(plan: Plan, state: State, now: float) -> tuple[State, Orders]:
    if state.phase == "before":
        if plan.kind == "no-shift":
            return replace(state, finished=state.rated >= plan.control), ()
        if state.rated >= plan.before:
            taste = "short" if plan.kind == "shift" else "random"
            return _enter(replace(_mark(state, now, "taste changes"), shifted=now), "detect", now), ({"taste": taste},)
    if state.phase == "after" and state.rated >= plan.after:
        return replace(state, finished=True), ()
    # noise in which there is nothing to train on: no run is asked for, however long one waits
    idle = plan.kind == "bad-data" and state.phase in ("detect", "collect") and state.rated >= plan.control
    return replace(state, finished=idle), ()


def _alarm(state: State, now: float, alarm: e.DriftDetected) -> tuple[State, Orders]:
    if not alarm.fell:
        return _mark(state, now, "rise" if alarm.detector.startswith("approval") else "news"), ()
    if state.shifted is None:
        return replace(_mark(state, now, "alarm", alarm=alarm.id), early_alarms=state.early_alarms + 1), ()
    state = _mark(state, now, "alarm", alarm=alarm.id)
    return (_enter(state, "collect", now) if state.phase == "detect" else state), ()


def _failed(plan: Plan, state: State, now: float, label: str, reason: str) -> tuple[State, Orders]:
    state = replace(_mark(state, now, label), rejections=(*state.rejections, reason))
    if plan.kind == "bad-data":  # that is the answer this run was after
        return replace(state, finished=True), ()
    return _enter(state, "collect", now), (dict(BUSY),)


def _deployment(plan: Plan, state: State, now: float, change: e.DeploymentChanged) -> tuple[State, Orders]:
    match change.change:
        case "canary":
            return _enter(_mark(state, now, "canary", canary=change.canary), "canary", now), (dict(BUSY),)
        case "promoted":
            state = replace(_mark(state, now, "promotion", promotion=change.id), promoted=True)
            if plan.kind == "bad-data":  # the wrong end; nothing is left to find out
                return replace(state, finished=True), ()
            return _enter(state, "after", now), ({**BUSY, "audience": "unseen"},)
        case "rolled-back":
            return _failed(plan, state, now, "rollback", "; ".join(change.reasons))
        case _:
            return state, ()


def _enter(state: State, phase: str, now: float) -> State:
    seconds = dict(state.seconds)
    seconds[state.phase] = seconds.get(state.phase, 0.0) + now - state.since
    return replace(state, phase=phase, since=now, seconds=seconds, rated=0)


def _mark(state: State, now: float, label: str, **ids: UUID | str | None) -> State:
    known = {name: str(value) for name, value in ids.items() if value is not None}
    return replace(state, marks=(*state.marks, (now, label)), ids=state.ids | known)
