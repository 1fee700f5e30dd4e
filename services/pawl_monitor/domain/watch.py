"""What the monitor knows of one model: its approval detector, the open alarm, and the loop's progress.

One fold over evidence, deployments, training, candidates and commands; every method takes the state and one event and
answers the new state with what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from pawl_monitor.domain.approval import (
    SHIFTS,
    ApprovalPolicy,
    ApprovalState,
    Change,
    Decision,
    Observation,
    increments,
)
from pawl_monitor.domain.intervals import Estimate, estimate
from pawl_monitor.domain.triggers import Occasion, TriggerPolicy, TriggerState
from pawl_shared.events import (
    ConfigureModelCommand,
    DeployedVersion,
    DeploymentChanged,
    DriftDetected,
    DriftResolved,
    Event,
    Interval,
    RetrainCommand,
    SessionObserved,
)
from pawl_shared.ids import derived_id
from pawl_shared.model_policy import Detectors, Governing, Triggers

DETECTOR = "approval"
WORDS = {"drop": "fell", "rise": "rose"}


class Recovery(BaseModel):
    """Evidence that approval is above `fallen`, the upper end of what it had fallen to: an e-process by betting.

    Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024: wealth against
    the null "mean <= fallen" multiplies by increments of mean <= 1, so P(it ever reaches 1/level | null) <= level.
    """

    model_config = ConfigDict(frozen=True)

    alarm: UUID
    fallen: float
    wealth: tuple[float, ...] = (1.0,) * len(SHIFTS)
    n: int = 0
    total: float = 0.0


class Watched(BaseModel):
    """State of one model."""

    model_config = ConfigDict(frozen=True)

    model: str
    champion: DeployedVersion | None = None
    version: str | None = None
    revision: int = 0
    references: int = 0
    detector: ApprovalState = ApprovalState()
    recovery: Recovery | None = None
    trigger: TriggerState = TriggerState()
    weighed: datetime | None = None
    configured: Governing | None = None

    @property
    def digest(self) -> str | None:
        """Of the policy that is valid now."""
        return self.configured.digest if self.configured else None


@dataclass(frozen=True)
class Observed:
    """What one session led to; no decision: it does not speak for the champion."""

    state: Watched
    events: tuple[Event, ...] = ()
    detector: ApprovalState | None = None
    decision: Decision | None = None


@dataclass(frozen=True)
class WatchPolicy:
    """Policies of the parts, and the level at which an alarm is taken to be over."""

    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    trigger: TriggerPolicy = field(default_factory=TriggerPolicy)
    resolve_level: float = 0.01
    horizon: timedelta = timedelta(days=7)

    def governing(self, state: Watched) -> WatchPolicy:
        """What is decided by now: what was configured, else this one."""
        if state.configured is None:
            return self
        return _configured(self, state.configured.policy.detectors, state.configured.policy.triggers)

    def configured(self, state: Watched, command: ConfigureModelCommand) -> Watched:
        """Another policy from here on. Other detectors learn from new: a level that follows from the data is none."""
        new = state.model_copy(update={"configured": Governing(policy=command.policy, digest=command.digest)})
        if self.governing(new).approval == self.governing(state).approval or not state.detector.n:
            return new
        return new.model_copy(update={"detector": ApprovalState(), "references": state.references + 1})

    def observed(self, state: Watched, event: SessionObserved, source: str) -> Observed:
        """One session. Only rated sessions of the champion's own arm and version speak for it."""
        if event.arm != "champion" or event.reward is None:
            return Observed(state)
        if event.version != state.version:
            if event.revision < state.revision:  # a late session of an earlier champion
                return Observed(state)
            state = self._new_reference(state, event.version)
        state = state.model_copy(update={"revision": max(state.revision, event.revision)})
        state, resolved = self._recover(state, event, event.reward, source)
        detector, decision = self.approval.step(state.detector, Observation(event.session, event.reward, event.ended))
        state = state.model_copy(update={"detector": detector})
        if decision.change is None:
            return Observed(state, resolved, detector, decision)
        state, alarm = self._alarm(state, event, decision.change, source)
        return Observed(state, (*resolved, *alarm), detector, decision)

    def deployed(self, state: Watched, event: DeploymentChanged, at: datetime) -> Watched:
        """A deployment changed: the loop's progress follows.

        The detector's reference does not: it changes with the evidence itself, in the order of its log, since sessions
        of the old champion may still be on their way here (all of them, when the monitor was down).
        """
        trigger = self._progress(state.trigger, event, at)
        return state.model_copy(update={"champion": event.champion, "trigger": trigger})

    def asked(self, state: Watched, command: RetrainCommand, at: datetime) -> Watched:
        """A person asks for a run; an open alarm stays the occasion."""
        if state.trigger.occasion is not None and state.trigger.occasion.kind == "drift":
            return state
        why = f": {command.why}" if command.why else ""
        occasion = Occasion(
            kind="person",
            alarm=None,
            since=at - self.horizon,
            sentence=f"{command.who} asked for it{why}",
            cause=command.id,
            time=command.time,
        )
        return state.model_copy(update={"trigger": state.trigger.model_copy(update={"occasion": occasion})})

    def _progress(self, trigger: TriggerState, event: DeploymentChanged, at: datetime) -> TriggerState:
        match event.change:
            case "canary" | "step" if event.challenger is not None:
                return self.trigger.validated(trigger, event.challenger.version)
            case "promoted":
                return self.trigger.promoted(trigger, at)
            case "rolled-back" if trigger.candidate is not None:
                return self.trigger.rejected(trigger, at)
            case "paused":
                return self.trigger.paused(trigger, "; ".join(event.reasons) or f"{event.who} paused the loop")
            case "resumed":
                return self.trigger.paused(trigger, "")
            case _:
                return trigger

    def delta_spent(self, state: Watched) -> float:
        """The part of the error budget (per direction) that all references so far have used."""
        return state.references * self.approval.delta

    def _new_reference(self, state: Watched, version: str) -> Watched:
        fresh = state.recovery and Recovery(alarm=state.recovery.alarm, fallen=state.recovery.fallen)
        return state.model_copy(
            update={
                "version": version,
                "references": state.references + 1,
                "detector": ApprovalState(),
                "recovery": fresh,
            }
        )

    def _alarm(
        self, state: Watched, event: SessionObserved, change: Change, source: str
    ) -> tuple[Watched, tuple[Event, ...]]:
        detected = DriftDetected(
            id=derived_id(event.id, DriftDetected.TYPE),
            time=event.time,
            source=source,
            cause=event.id,
            model=state.model,
            detector=f"{DETECTOR}/{change.detector}",
            direction=change.direction,
            version=event.version,
            since=change.since,
            before=interval(change.before),
            after=interval(change.after),
            sessions=change.before.n + change.after.n,
            evidence=change.evidence,
            threshold=change.threshold,
            sentence=sentence_of(change),
            policy=state.digest,
        )
        # The detector starts again: its reference says how approval was, and that is over.
        new = state.model_copy(update={"detector": ApprovalState(), "references": state.references + 1})
        if change.direction == "rise":
            return new, (detected,)
        superseded = self._supersede(state, detected, source)
        new = new.model_copy(update={"recovery": Recovery(alarm=detected.id, fallen=change.after.high)})
        if state.champion is not None and state.champion.version != event.version:
            return new, (*superseded, detected)  # it was replaced already: nothing to train for
        if not self.trigger.drift:
            return new, (*superseded, detected)
        sentence = f"approval fell; data since {change.since:%Y-%m-%d %H:%M:%S} UTC"
        occasion = Occasion(
            alarm=detected.id, since=change.since, sentence=sentence, cause=detected.id, time=detected.time
        )
        trigger = state.trigger.model_copy(update={"occasion": occasion})
        return new.model_copy(update={"trigger": trigger}), (*superseded, detected)

    @staticmethod
    def _supersede(state: Watched, by: DriftDetected, source: str) -> tuple[Event, ...]:
        if state.recovery is None:
            return ()
        return (
            DriftResolved(
                id=derived_id(by.id, DriftResolved.TYPE),
                time=by.time,
                source=source,
                cause=by.id,
                model=state.model,
                alarm=state.recovery.alarm,
                now=by.after,
                sentence="Approval fell further; a newer alarm stands for both.",
                policy=state.digest,
            ),
        )

    def _recover(
        self, state: Watched, event: SessionObserved, reward: float, source: str
    ) -> tuple[Watched, tuple[Event, ...]]:
        if state.recovery is None:
            return state, ()
        recovery = bet_on_recovery(state.recovery, reward)
        if sum(recovery.wealth) / len(recovery.wealth) < 1 / self.resolve_level:
            return state.model_copy(update={"recovery": recovery}), ()
        now = estimate(recovery.total, recovery.n)
        assert now is not None
        resolved = DriftResolved(
            id=derived_id(event.id, DriftResolved.TYPE),
            time=event.time,
            source=source,
            cause=event.id,
            model=state.model,
            alarm=recovery.alarm,
            now=interval(now),
            sentence=f"Approval is {percent(now)}, above the {recovery.fallen:.0%} that it had fallen to at most.",
            policy=state.digest,
        )
        trigger = state.trigger.model_copy(update={"occasion": None})
        return state.model_copy(update={"recovery": None, "trigger": trigger}), (resolved,)


@lru_cache(maxsize=64)
def _configured(default: WatchPolicy, detectors: Detectors, triggers: Triggers) -> WatchPolicy:
    approval = detectors.approval
    return replace(
        default,
        approval=ApprovalPolicy(alpha=approval.alpha, delta=approval.delta, n0=approval.reference_sessions),
        trigger=TriggerPolicy(**dict(triggers)),
    )


def bet_on_recovery(recovery: Recovery, reward: float) -> Recovery:
    """One more session for the e-process."""
    bets = increments(max(1 - recovery.fallen, 1e-6))
    wealth = tuple(
        w * ((1 - reward) * one + reward * zero) for (one, zero), w in zip(bets, recovery.wealth, strict=True)
    )
    update = {"wealth": wealth, "n": recovery.n + 1, "total": recovery.total + reward}
    return recovery.model_copy(update=update)


def interval(value: Estimate) -> Interval:
    """An estimate as events carry it."""
    return Interval(point=value.point, low=value.low, high=value.high, n=value.n)


def percent(value: Estimate) -> str:
    """`78 % (70-84 %, 120 sessions)`."""
    return f"{value.point:.0%} ({value.low:.0%} to {value.high:.0%}, {value.n} sessions)"


def sentence_of(change: Change) -> str:
    """An alarm in one sentence."""
    return (
        f"Approval {WORDS[change.direction]} from {percent(change.before)} to {percent(change.after)}, "
        f"most likely since {change.since:%Y-%m-%d %H:%M:%S} UTC."
    )
