"""What the monitor knows of one model: its detectors, the open alarm, and the loop's progress.

One fold over evidence, deployments, training, candidates and commands; every method takes the state and one event and
answers the new state with what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache

from pawl_monitor.domain.approval import ApprovalPolicy
from pawl_monitor.domain.assessment import assess, awaiting, counted, displaced
from pawl_monitor.domain.busy import meets
from pawl_monitor.domain.clusters import Recent, keep_recent
from pawl_monitor.domain.detection import Known, alarm, detectors_of
from pawl_monitor.domain.detectors import Budget, Change, Observation
from pawl_monitor.domain.explanation import Ratings, remember
from pawl_monitor.domain.further import Further, FurtherState
from pawl_monitor.domain.output import OutputPolicy, OutputState
from pawl_monitor.domain.recovery import Recovery
from pawl_monitor.domain.sides import changed, follow, speaks
from pawl_monitor.domain.traffic import TrafficPolicy, TrafficState, usual_of
from pawl_monitor.domain.trigger_state import Occasion
from pawl_monitor.domain.triggers import TriggerPolicy
from pawl_monitor.domain.watched import Observed, Watched
from pawl_shared.events import (
    ConfigureModelCommand,
    DeploymentChanged,
    DriftDetected,
    Event,
    RetrainCommand,
    SessionObserved,
    Tick,
)
from pawl_shared.policies.model_policy import Detectors, Governing, ModelPolicy, Triggers

ELSEWHERE = "These answers were made elsewhere."
NOT_DEPLOYED = "Nothing is trained for them: the model is not deployed here."


@dataclass(frozen=True)
class WatchPolicy:
    """Policies of the parts, and the level at which an alarm is taken to be over. None: what is not watched."""

    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    trigger: TriggerPolicy = field(default_factory=TriggerPolicy)
    traffic: TrafficPolicy | None = field(default_factory=TrafficPolicy)
    output: OutputPolicy | None = field(default_factory=OutputPolicy)
    further: tuple[Further, ...] = ()
    resolve_level: float = 0.01
    horizon: timedelta = timedelta(days=7)

    def governing(self, state: Watched) -> WatchPolicy:
        """What is decided by now: what was configured, else this one."""
        if state.configured is None:
            return self
        return self.of(state.configured.policy)

    def of(self, policy: ModelPolicy) -> WatchPolicy:
        """This one, with what a model's policy says."""
        return _configured(self, policy.detectors, policy.triggers)

    def configured(self, state: Watched, command: ConfigureModelCommand) -> Watched:
        """Another policy from here on. Other detectors learn from new: a level that follows from the data is none."""
        new = state.model_copy(update={"configured": Governing(policy=command.policy, digest=command.digest)})
        before, after = self.governing(state), self.governing(new)
        update: dict[str, object] = {}
        if after.traffic != before.traffic:
            update["traffic"] = TrafficState()
        if after.output != before.output:
            update["output"] = OutputState()
        same = {each.name for each in after.further if each in before.further}
        update["further"] = {name: known for name, known in state.further.items() if name in same}
        new = new.model_copy(update=update)
        return new if after.approval == before.approval or not state.approval.n else after._new_reference(new)

    def observed(self, state: Watched, event: SessionObserved, source: str) -> Observed:
        """One session. Only those of the champion's own arm and version speak for it, or those of other providers where
        they answer (`sides`); of approval, rated ones."""
        seen = self._observed(state, event, source)
        ended = displaced(state.pending, seen.state.pending, state.recent, event, source)
        counts = seen.state.recent is not state.recent
        pending = counted(seen.state.pending) if counts else seen.state.pending
        for raised in seen.events:
            if isinstance(raised, DriftDetected):
                before, pending = pending, awaiting(pending, raised, usual_of(state.traffic), seen.state.recent)
                ended += displaced(before, pending, seen.state.recent, event, source)
        if not pending and not ended:
            return seen
        new, events = self.assessed(seen.state.model_copy(update={"pending": pending}), event, source)
        return replace(seen, state=new, events=(*seen.events, *ended, *events))

    def assessed(self, state: Watched, now: SessionObserved | Tick, source: str) -> tuple[Watched, tuple[Event, ...]]:
        """Alarms of which enough is known by now are told again."""
        due = [each for each in state.pending if each.due(now)]
        if not due:
            return state, ()
        rest = tuple(each for each in state.pending if each not in due)
        told = [event for each in due for event in assess(each, state.recent, now, source)]
        return state.model_copy(update={"pending": rest}), tuple(told)

    def _observed(self, state: Watched, event: SessionObserved, source: str) -> Observed:
        late = event.version != state.version and event.revision < state.revision  # of an earlier champion
        if not speaks(event) or (late and event.arm == "champion"):
            return Observed(state)
        before = state
        state, watched = follow(state, event)
        if not watched:
            return Observed(state)
        if changed(before, state, event):
            state = self._new_version(state, event.version)
        told = event.statistics
        if state.busy and meets(state.busy, event):
            told = {name: value for name, value in told.items() if name != "seconds"}
        seen = Observation(
            event.session, event.reward, event.ended, told, event.prompt_sketch, str(event.cause or ""),
            event.tags, event.language,
        )  # fmt: skip
        ratings = state.ratings.add(event.reward is not None, event.ended)
        latest = Recent(seen.example, event.prompt_sketch, event.ended.timestamp(), event.reward)
        update: dict[str, object] = {"revision": max(state.revision, event.revision), "ratings": ratings}
        update["version"] = event.version  # that of a champion is the same, other providers change theirs
        update["recent"] = keep_recent(state.recent, latest)
        changes, others, evidence = self._watch_others(state, seen)
        # An alarm is explained by what was known before its detector began anew.
        known = state.model_copy(update=update) if changes else state
        alarms = tuple([self._told(known, event, change, source) for change in changes])
        approval, decision = self.approval.step(state.approval, seen)  # without a reward it stays as it is
        state = state.model_copy(update={**update, **others, "approval": approval})  # copied once: it takes its time
        if event.reward is None:
            return Observed(state, alarms, others=evidence)
        state, resolved = self._recover(state, event, event.reward, source)
        if decision is None or decision.change is None:
            return Observed(state, (*alarms, *resolved), approval, decision, evidence)
        state, fallen = self._alarm(state, event, decision.change, source)
        return Observed(state, (*alarms, *resolved, *fallen), approval, decision, evidence)

    def _watch_others(
        self, state: Watched, seen: Observation
    ) -> tuple[list[Change], dict[str, object], dict[str, float]]:
        """What people ask and what the model answers; an alarm makes the new state of things the reference."""
        changes, update, evidence = list[Change](), dict[str, object](), dict[str, float]()
        if self.traffic is not None:
            traffic, decision = self.traffic.step(state.traffic, seen)
            update["traffic"] = traffic
            if decision is not None and decision.evidence:
                evidence["traffic"] = max(decision.evidence.values())
            if decision is not None and decision.change is not None:
                changes.append(decision.change)
                update["traffic"] = self.traffic.begin(state.references)
        if self.output is not None:
            output, decision = self.output.step(state.output, seen)
            update["output"] = output
            if decision is not None and decision.evidence:
                evidence["output"] = max(decision.evidence.values())
            if decision is not None and decision.change is not None:
                changes.append(decision.change)
                update["output"] = self.output.begin(state.references)
        if self.further:
            update["further"] = further = dict(state.further)
            for each in self.further:
                known, decision = each.step(state.further.get(each.name, FurtherState()), seen)
                further[each.name] = known
                if decision is not None and decision.change is not None:
                    changes.append(decision.change)
                    further[each.name] = each.begin(state.references)
        return changes, update, evidence

    def deployed(self, state: Watched, event: DeploymentChanged, at: datetime) -> Watched:
        """A deployment changed: the loop's progress follows.

        The detector's reference does not: it changes with the evidence itself, in the order of its log, since sessions
        of the old champion may still be on their way here (all of them, when the monitor was down).
        """
        trigger = self.trigger.deployed(state.trigger, event, at)
        deployments = remember(state.deployments, event)
        return state.model_copy(update={"champion": event.champion, "trigger": trigger, "deployments": deployments})

    def asked(self, state: Watched, command: RetrainCommand, at: datetime) -> Watched:
        """A person asks for a run; an open alarm stays the occasion, and its next run is by the recipe asked for."""
        occasion = state.trigger.occasion
        if occasion is not None and occasion.kind == "drift":
            occasion = occasion.model_copy(update={"recipe": command.recipe})
        else:
            by = "" if command.recipe == "auto" else f", by recipe {command.recipe}"
            why = f": {command.why}" if command.why else ""
            occasion = Occasion(
                kind="person",
                alarm=None,
                since=at - self.horizon,
                sentence=f"{command.who} asked for it{by}{why}",
                cause=command.id,
                time=command.time,
                recipe=command.recipe,
            )
        return state.model_copy(update={"trigger": state.trigger.model_copy(update={"occasion": occasion})})

    def delta_spent(self, state: Watched) -> float:
        """The part of the error budget that all references so far have used."""
        return Budget(delta=self.approval.delta).spent(state.references)

    @property
    def guarantees(self) -> dict[str, str]:
        """What is proven of each detector's false alarms."""
        parts = {"approval": self.approval, "traffic": self.traffic, "output": self.output}
        known = {name: part.guarantee for name, part in parts.items() if part is not None}
        return known | {each.name: each.guarantee for each in self.further}

    def _new_version(self, state: Watched, version: str) -> Watched:
        update: dict[str, object] = {
            "version": version,
            "traffic": TrafficState(),
            "output": OutputState(),
            "further": {},
            "ratings": Ratings(),
            "recent": (),
            "pending": (),
            "recovery": state.recovery and state.recovery.anew(),
        }
        return self._new_reference(state.model_copy(update=update))

    def _new_reference(self, state: Watched) -> Watched:
        number = state.references + 1
        return state.model_copy(update={"references": number, "approval": self.approval.begin(number)})

    def _alarm(
        self, state: Watched, event: SessionObserved, change: Change, source: str
    ) -> tuple[Watched, tuple[Event, ...]]:
        detected = self._told(state, event, change, source)
        # The detector starts again: its reference says how approval was, and that is over.
        new = self._new_reference(state)
        if change.direction == "rise":
            return new, (detected,)
        older = state.recovery
        superseded = (older.superseded(state.model, detected, source, state.digest),) if older else ()
        new = new.model_copy(update={"recovery": Recovery(alarm=detected.id, fallen=change.after.high)})
        if event.arm == "champion" and state.champion is not None and state.champion.version != event.version:
            return new, (*superseded, detected)  # it was replaced already: nothing to train for
        if not self.trigger.drift:
            return new, (*superseded, detected)
        sentence = f"approval fell; data since {change.since:%Y-%m-%d %H:%M:%S} UTC"
        asked = state.trigger.occasion.recipe if state.trigger.occasion else "auto"
        occasion = Occasion(
            alarm=detected.id, since=change.since, sentence=sentence, cause=detected.id, time=detected.time,
            recipe=asked,
        )  # fmt: skip
        trigger = state.trigger.model_copy(update={"occasion": occasion})
        return new.model_copy(update={"trigger": trigger}), (*superseded, detected)

    @staticmethod
    def _told(state: Watched, event: SessionObserved, change: Change, source: str) -> DriftDetected:
        known = Known(state.deployments, state.ratings, state.recent, usual_of(state.traffic), state.digest)
        told = alarm(event, change, source, known)
        if event.arm != "external":
            return told
        where = ELSEWHERE if state.champion else f"{ELSEWHERE} {NOT_DEPLOYED}"
        return told.model_copy(update={"sentence": f"{told.sentence} {where}"})

    def _recover(
        self, state: Watched, event: SessionObserved, reward: float, source: str
    ) -> tuple[Watched, tuple[Event, ...]]:
        if state.recovery is None:
            return state, ()
        recovery = state.recovery.bet(reward)
        if recovery.evidence < 1 / self.resolve_level:
            return state.model_copy(update={"recovery": recovery}), ()
        resolved = recovery.resolved(state.model, event, source, state.digest)
        trigger = state.trigger
        if trigger.occasion is not None and trigger.occasion.kind == "drift":  # a person's request stands
            trigger = trigger.model_copy(update={"occasion": None})
        return state.model_copy(update={"recovery": None, "trigger": trigger}), (resolved,)


@lru_cache(maxsize=64)
def _configured(default: WatchPolicy, detectors: Detectors, triggers: Triggers) -> WatchPolicy:
    return replace(default, **detectors_of(detectors)._asdict(), trigger=TriggerPolicy(**dict(triggers)))
