"""The monitor's folds: events in, state, rows and events out. All I/O is the runner's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel

from pawl_monitor.domain.busy import follow
from pawl_monitor.domain.sessions import Session, SessionPolicy
from pawl_monitor.domain.trigger_state import TriggerState
from pawl_monitor.domain.triggers import TriggerPolicy
from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.domain.watched import Watched
from pawl_monitor.storage import rows
from pawl_shared import events as e
from pawl_shared import topics
from pawl_shared.ids import derived_id
from pawl_shared.running.fold import Delivery, Step
from pawl_shared.stores.port import Effect
from pawl_shared.topics import names

WEIGH = "weigh"


class Weighing(BaseModel):
    """Payload of the effect that counts the feedback and, when there is enough, freezes it."""

    model: str
    now: datetime
    base: str
    parent: str | None
    trigger: TriggerState
    by: TriggerPolicy = TriggerPolicy()
    policy: str | None = None


class SessionFold:
    """Keeps interactions, and turns sessions that are over into evidence."""

    name = "sessions"
    topics = names(topics.INTERACTIONS, topics.EVIDENCE)
    state = Session

    def __init__(self, policy: SessionPolicy, source: str) -> None:
        self._policy, self._source = policy, source

    def keys(self, event: e.Event) -> Sequence[str]:
        return [f"{event.model}/{event.session}"] if isinstance(event, e.InteractionScored) else []

    def step(self, key: str, state: Session | None, delivery: Delivery) -> Step[Session]:
        assert isinstance(delivery.event, e.InteractionScored)
        new, due = self._policy.step(state, delivery.event, delivery.at)
        return Step(new, rows=tuple(rows.interaction_rows(delivery.event, _place(delivery))), due=due)

    def timer(self, key: str, state: Session, tick: Delivery) -> Step[Session]:
        new, due, observed = self._policy.close(state, tick.at, self._source)
        return Step(new, events=(observed,) if observed else (), due=due)


class WatchFold:
    """Evidence into alarms, and the loop's progress into a decision to retrain.

    `policy`: of a model for which nothing is configured.
    """

    name = "watch"
    topics = names(topics.EVIDENCE, topics.TRAINING, topics.CANDIDATES, topics.DEPLOYMENTS, topics.COMMANDS)
    state = Watched

    def __init__(self, policy: WatchPolicy, source: str) -> None:
        self._policy, self._source = policy, source

    def keys(self, event: e.Event) -> Sequence[str]:
        model: str = getattr(event, "model", "")
        return [model] if model else []

    def step(self, key: str, state: Watched | None, delivery: Delivery) -> Step[Watched]:
        state = state or Watched(model=key)
        policy = self._policy.governing(state)
        match delivery.event:
            case e.ConfigureModelCommand() as event:
                return Step(self._policy.configured(state, event))
            case e.SessionObserved() as event:
                return self._observed(policy, state, event, _place(delivery))
            case e.Tick() as event:
                state, assessed = policy.assessed(state, event, self._source)
                return self._tick(policy.trigger, state, event, delivery.at)._replace(events=assessed)
            case e.DeploymentChanged() as event:
                return Step(policy.deployed(state, event, delivery.at))
            case e.RetrainCommand() as event:
                return Step(policy.asked(state, event, delivery.at))
            case _:
                trigger = progress(policy.trigger, state.trigger, delivery.event, delivery.at)
                busy = follow(state.busy, delivery.event)
                return Step(state.model_copy(update={"trigger": trigger, "busy": busy}))

    def _observed(
        self, policy: WatchPolicy, state: Watched, event: e.SessionObserved, place: rows.Place
    ) -> Step[Watched]:
        seen = policy.observed(state, event, self._source)
        written = [rows.evidence_row(event, seen.others, place)]
        if seen.detector is not None and seen.decision is not None:
            written.append(rows.detector_row(event, seen.detector, seen.decision, place))
        return Step(seen.state, events=seen.events, rows=tuple(written))

    def _tick(self, policy: TriggerPolicy, state: Watched, event: e.Tick, at: datetime) -> Step[Watched]:
        state = state.model_copy(update={"trigger": policy.ticked(state.trigger, at, event.id)})
        waited = state.weighed is None or at - state.weighed >= policy.patience(state.trigger)
        if state.champion is None or not waited or not policy.due(state.trigger, at):
            return Step(state)
        champion = state.champion
        parent = champion.version if champion.slot_file else None
        weighing = Weighing(
            model=state.model,
            now=at,
            base=champion.base,
            parent=parent,
            trigger=state.trigger,
            by=policy,
            policy=state.digest,
        )
        effect = Effect(derived_id(event.id, WEIGH), WEIGH, weighing.model_dump_json())
        return Step(state.model_copy(update={"weighed": at}), effects=(effect,))


class RecordFold:
    """Keeps every control event as a row; no state."""

    name = "records"
    topics = names(
        topics.DRIFT,
        topics.TRAINING,
        topics.CANDIDATES,
        topics.MODELS,
        topics.DEPLOYMENTS,
        topics.COMMANDS,
        topics.REPLICAS,
        topics.DEAD_LETTERS,
    )
    state = BaseModel

    def keys(self, event: e.Event) -> Sequence[str]:
        return [event.key]

    def step(self, key: str, state: BaseModel | None, delivery: Delivery) -> Step[BaseModel]:
        match delivery.event:
            case e.ReplicaReported() as event:
                return Step(None, rows=(rows.replica_row(event),))
            case e.DeadLetter() as event:
                return Step(None, rows=(rows.dead_letter_row(event),))
            case event:
                return Step(None, rows=(rows.record_row(event, _place(delivery)),))


def progress(policy: TriggerPolicy, trigger: TriggerState, event: e.Event, at: datetime) -> TriggerState:
    """The loop's progress, as the trigger policy remembers it."""
    match event:
        case e.RetrainRequested():
            return policy.requested(trigger, event.id, event.counts.get("train", 0), at)
        case e.TrainingStarted():
            return policy.started(trigger, event.run, event.device, at)
        case e.AdapterTrained():
            return policy.trained(trigger, event.run, at)
        case e.TrainingFailed() if _current(trigger, event.run):
            return policy.failed(policy.trained(trigger, event.run, at), at)
        case e.CandidateValidated():
            return policy.measured(trigger, event)
        case e.CandidateRejected() if _current(trigger, event.run) or trigger.candidate == event.adapter:
            return policy.rejected(trigger, at)
        case e.PauseCommand():
            why = f"{event.who} paused the loop" + (f": {event.why}" if event.why else "")
            return policy.paused(trigger, why if event.paused else "")
        case _:
            return trigger


def _place(delivery: Delivery) -> rows.Place:
    return delivery.partition, delivery.offset


def _current(trigger: TriggerState, run: UUID) -> bool:
    return trigger.run == run
