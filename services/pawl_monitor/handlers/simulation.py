"""A policy tried on the log: what it would have decided about alarms and runs, had it been valid all the time.

The evidence is what happened, under the versions that served then. What the policy's own runs would have led to nobody
knows: each is taken to be over at once, as long as the log's last one took, and to answer what asked for it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from pawl_monitor.domain.trigger_state import PastRun, TriggerState, Usable
from pawl_monitor.domain.triggers import TriggerDecision
from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.domain.watched import Watched
from pawl_monitor.handlers.folds import WatchFold, progress
from pawl_shared import events as e
from pawl_shared.ids import derived_id
from pawl_shared.running.fold import Delivery, Step
from pawl_shared.stores.port import Effect

SAID = "said"
FORMER = PastRun(run=UUID(int=0), requested=datetime.min)


class Happening(BaseModel):
    """One thing that the policy would have decided, by the log's time."""

    at: datetime
    what: Literal["alarm", "resolved", "waiting", "fired"]
    sentence: str


class Simulated(BaseModel):
    """State: what is watched, what was last said about waiting, how long the log's last run took, and how far the log's
    own loop has come."""

    watched: Watched
    missing: tuple[str, ...] = ()
    last: PastRun = FORMER
    loop: TriggerState = TriggerState()


class Counted:
    """Usable feedback by its time. Each entry: when it was given, and the field of Usable in which it counts."""

    def __init__(self, entries: Iterable[tuple[datetime, str]]) -> None:
        self._times: dict[str, list[datetime]] = defaultdict(list)
        for time, name in sorted(entries):
            self._times[name].append(time)

    def usable(self, since: datetime, until: datetime) -> Usable:
        """What there was of it between two times."""
        return Usable(**{n: bisect_right(times, until) - bisect_left(times, since) for n, times in self._times.items()})


class SimulationFold:
    """Decides by one policy from the log's first record on; everything that it would have said is an effect."""

    name = "simulation"
    topics = WatchFold.topics
    state = Simulated

    def __init__(self, model: str, policy: WatchPolicy, feedback: Counted) -> None:
        self._model, self._policy, self._feedback = model, policy, feedback

    def keys(self, event: e.Event) -> Sequence[str]:
        return [self._model] if getattr(event, "model", "") == self._model else []

    def step(self, key: str, state: Simulated | None, delivery: Delivery) -> Step[Simulated]:
        state = state or Simulated(watched=Watched(model=key))
        match delivery.event:
            case e.SessionObserved() as event:
                return self._observed(state, event, delivery.at)
            case e.Tick() as event:
                return self._tick(state, event, delivery.at)
            case e.DeploymentChanged() as event:
                return Step(self._deployed(state, event, delivery.at))
            case e.RetrainCommand() as event:
                return Step(_watching(state, self._policy.asked(state.watched, event, delivery.at)))
            case e.PauseCommand() as event:
                return Step(self._paused(state, f"{event.who} paused the loop" if event.paused else ""))
            case e.TrainingStarted() as event:
                last = PastRun(run=event.run, requested=delivery.at, started=delivery.at, device=event.device)
                return Step(state.model_copy(update={"last": last}))
            case e.AdapterTrained() as event:
                last = state.last.model_copy(update={"seconds": event.seconds})
                return Step(state.model_copy(update={"last": last}))
            case event:
                loop = progress(self._policy.trigger, state.loop, event, delivery.at)
                return Step(state.model_copy(update={"loop": loop}))

    def _observed(self, state: Simulated, event: e.SessionObserved, at: datetime) -> Step[Simulated]:
        seen = self._policy.observed(state.watched, event, "simulation")
        said = [
            _said(each, Happening(at=at, what="alarm" if isinstance(each, e.DriftDetected) else "resolved",
                                  sentence=each.sentence))
            for each in seen.events if isinstance(each, e.DriftDetected | e.DriftResolved)
        ]  # fmt: skip
        return Step(_watching(state, seen.state), effects=tuple(said))

    def _deployed(self, state: Simulated, event: e.DeploymentChanged, at: datetime) -> Simulated:
        """The log's candidate, once it is champion, answers what asked for a run before; an earlier version that a
        person brought back does not. How a candidate's own run went is not this policy's affair."""
        trigger = state.watched.trigger
        if event.change in ("promoted", "pinned") and event.champion.version == state.loop.candidate:
            trigger = trigger.model_copy(update={"occasion": None})
        watched = self._policy.deployed(state.watched, event, at).model_copy(update={"trigger": trigger})
        loop = self._policy.trigger.deployed(state.loop, event, at)
        return state.model_copy(update={"watched": watched, "loop": loop})

    def _paused(self, state: Simulated, why: str) -> Simulated:
        trigger = self._policy.trigger.paused(state.watched.trigger, why)
        return _watching(state, state.watched.model_copy(update={"trigger": trigger}))

    def _tick(self, state: Simulated, event: e.Tick, at: datetime) -> Step[Simulated]:
        policy, watched = self._policy.trigger, state.watched
        trigger = policy.ticked(watched.trigger, at, event.id)
        watched = watched.model_copy(update={"trigger": trigger})
        waited = watched.weighed is None or at - watched.weighed >= policy.patience(trigger)
        if trigger.occasion is None:
            return Step(_watching(state, watched).model_copy(update={"missing": ()}))
        if watched.champion is None or not waited:
            return Step(_watching(state, watched))
        decision = policy.decide(trigger, self._feedback.usable(trigger.occasion.since, at), at)
        watched = watched.model_copy(update={"weighed": at})
        if decision.fire:
            return self._fire(state, watched, decision, event, at)
        missing = tuple(reason.name for reason in decision.reasons if not reason.holds)
        new = _watching(state, watched).model_copy(update={"missing": missing})
        if missing == state.missing:
            return Step(new)
        return Step(new, effects=(_said(event, Happening(at=at, what="waiting", sentence=decision.sentence)),))

    def _fire(
        self, state: Simulated, watched: Watched, decision: TriggerDecision, event: e.Tick, at: datetime
    ) -> Step[Simulated]:
        past = state.last.model_copy(update={"run": event.id, "requested": at})
        trigger = watched.trigger
        update = {"runs": (*trigger.runs, past), "requested": at, "ended": at, "occasion": None}
        after: TriggerState = trigger.model_copy(update=update)
        new = _watching(state, watched.model_copy(update={"trigger": after})).model_copy(update={"missing": ()})
        return Step(new, effects=(_said(event, Happening(at=at, what="fired", sentence=decision.sentence)),))


def _watching(state: Simulated, watched: Watched) -> Simulated:
    return state.model_copy(update={"watched": watched})


def _said(cause: e.Event, happening: Happening) -> Effect:
    return Effect(derived_id(cause.id, f"{SAID} {happening.what}"), SAID, happening.model_dump_json())
