"""The validator's fold: commands, candidates and evidence in; deployments, stages and owed work out. All I/O is the
runner's, so the state, its decision and the offsets are one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from pawl_shared import events as e
from pawl_shared import topics
from pawl_shared.ids import derived_id
from pawl_shared.policies.model_policy import Governing
from pawl_shared.running.fold import Delivery, Step
from pawl_shared.stores.port import Effect
from pawl_shared.topics import names
from pawl_validator.domain import approval, canary, deployment, experiment, queue, verdict
from pawl_validator.handlers import approvals, candidates, commands, experiments
from pawl_validator.handlers.commands import DeploymentCommand
from pawl_validator.handlers.state import Draft, ModelState, Trial

REGISTER = "register"

# Where a canary stands is told at each block at first, then at every tenth: thousands of records help nobody.
TOLD_BLOCKS = 50


class DeploymentFold:
    """One model's way from candidate to champion, or out. `policy`: of canaries while nothing is configured."""

    name = "deployments"
    topics = names(topics.COMMANDS, topics.CANDIDATES, topics.MODELS, topics.EVIDENCE)
    state = ModelState

    def __init__(self, policy: canary.CanaryPolicy, source: str) -> None:
        self._policy, self._source = policy, source

    def keys(self, event: e.Event) -> Sequence[str]:
        model = getattr(event, "model", None)
        return [] if model is None or isinstance(event, _UNREAD) else [model]

    def step(self, key: str, state: ModelState | None, delivery: Delivery) -> Step[ModelState]:
        before = state or ModelState(model=key)
        draft = Draft(before, delivery, self._source)
        self._take(draft)
        if draft.state.deployment is not before.deployment or draft.state.configured is not before.configured:
            approvals.tell(draft, before, self._current(before).approval, self._current(draft.state).approval)
        return Step(draft.state, events=tuple(draft.events), effects=tuple(draft.effects))

    def _take(self, draft: Draft) -> None:
        match draft.delivery.event:
            case e.RegisterModelCommand() as event:
                draft.effects.append(Effect(derived_id(event.id, REGISTER), REGISTER, event.model_dump_json()))
            case e.ConfigureModelCommand() as event:
                draft.update(configured=Governing(policy=event.policy, digest=event.digest))
            case e.ModelRegistered() as event:
                self._registered(draft, event)
            case e.AdapterTrained() as event:
                candidates.trained(draft, event)
            case e.CandidateValidated() as event:
                candidates.validated(draft, event)
                self._start_next(draft)
            case e.CandidateRejected() as event:
                candidates.rejected(draft, event)
            case e.SessionObserved() as event:
                self._observed(draft, event)
            case e.Tick():
                self._ticked(draft)
            case (
                e.PromoteCommand()
                | e.RollbackCommand()
                | e.PauseCommand()
                | e.PinCommand()
                | e.StartExperimentCommand()
                | e.StopExperimentCommand()
            ) as event:
                self._commanded(draft, event)
            case e.ApproveCommand() as event:
                self._apply(draft, approvals.decided(draft, self._current(draft.state).approval, event))

    # ------------------------------------------------------------ candidates

    def _registered(self, draft: Draft, event: e.ModelRegistered) -> None:
        if event.kind != "base":
            return
        served = e.DeployedVersion(version=event.version, base=event.base, graph=event.graph)
        change = deployment.register(event.model, draft.state.deployment, served, "pawl")
        if change is not None:
            draft.apply(change)

    def _apply(self, draft: Draft, change: deployment.Change | None) -> None:
        """Take a change, and what follows from it: for those in the queue, and for whose canary is next."""
        if change is not None:
            if change.kind == "promoted" and change.numbers:  # by evidence: what a person decides alone has no numbers
                draft.update(series=draft.state.series.promote())
            draft.apply(change)
        self._start_next(draft)

    def _start_next(self, draft: Draft) -> None:
        candidates.follow_champion(draft)
        now = draft.state.deployment
        approval_needed = approval.needs(self._current(draft.state).approval, "canary")
        if now is None or (waiting := queue.next_up(now, approval_needed)) is None:
            return
        policy, series = self._current(draft.state), draft.state.series
        level = series.level(policy.alpha_series, policy.alpha_promote)
        policy = policy.model_copy(update={"alpha_promote": level})
        change = queue.start(now, waiting, derived_id(waiting.run, "canary"), policy.share)
        told = {"alpha_promote": level, "canaries": series.begun + 1.0, "promotions": float(series.promoted)}
        draft.apply(change.model_copy(update={"numbers": change.numbers | told}))
        draft.update(trial=Trial(policy=policy, digest=draft.state.digest), series=series.begin())

    def _current(self, state: ModelState) -> canary.CanaryPolicy:
        """What a canary that begins now is tried by."""
        section = state.configured.policy.canary if state.configured else None
        return self._policy if section is None else canary.CanaryPolicy(**section.model_dump())

    def _trying(self, state: ModelState) -> canary.CanaryPolicy:
        """What the canary that runs is tried by."""
        return state.trial.policy if state.trial else self._current(state)

    # ------------------------------------------------------------ the canary

    def _observed(self, draft: Draft, event: e.SessionObserved) -> None:
        now = draft.state.deployment
        if now is not None and now.experiment is not None and draft.state.experiment is not None:
            draft.update(experiment=experiments.take(now.experiment, draft.state.experiment, event))
            self._limit(draft)
            return
        if now is None or now.canary is None or event.canary != now.canary:
            return
        if event.arm not in ("champion", "challenger"):
            return
        seen = canary.Observation(
            event.arm == "challenger", event.reward, draft.at, event.statistics, event.prompt_sketch
        )
        before = draft.state.canary.blocks
        state, decision = canary.step(self._trying(draft.state), draft.state.canary, seen)
        draft.update(canary=state)
        tell = state.blocks != before and (state.blocks <= TOLD_BLOCKS or state.blocks % 10 == 0)
        if tell or (decision.action != "continue" and now.earned is None):
            draft.events.append(self._observation(draft, now, decision))
        self._conclude(draft, decision)

    def _ticked(self, draft: Draft) -> None:
        """A canary or an experiment without traffic ends by time alone."""
        now = draft.state.deployment
        if draft.state.experiment is not None:
            self._limit(draft)
        elif now is not None and now.canary is not None:
            self._conclude(draft, canary.decide(self._trying(draft.state), draft.state.canary, draft.at))
        else:
            self._start_next(draft)

    def _limit(self, draft: Draft) -> None:
        """The end of an experiment by its own limits, else a report when there is news."""
        now, trying = draft.state.deployment, draft.state.experiment
        assert now is not None, "an experiment belongs to a deployment"
        assert now.experiment is not None, "what is observed runs"
        assert trying is not None, "what runs is observed"
        change = experiment.limited(now, trying.known.sessions, trying.started, draft.at)
        if change is not None:
            draft.apply(change)
            self._start_next(draft)
        elif trying.due:
            draft.tell(now.experiment)

    def _conclude(self, draft: Draft, decision: canary.Decision) -> None:
        now = draft.state.deployment
        assert now is not None, "a canary belongs to a deployment"
        approval_needed = approval.needs(self._current(draft.state).approval, "promotion")
        change = verdict.conclude(now, decision, approval_needed)
        if change is not None:
            self._apply(draft, change)
        elif approval_needed or now.paused:
            draft.update(deployment=verdict.earn(now, decision))

    def _observation(self, draft: Draft, now: deployment.Deployment, decision: canary.Decision) -> e.CanaryObserved:
        assert now.challenger is not None, "a canary has a challenger"
        assert now.canary is not None, "a canary has an id"
        return e.CanaryObserved(
            id=draft.id(e.CanaryObserved.TYPE),
            time=draft.at,
            source=self._source,
            cause=draft.delivery.event.id,
            model=now.model,
            version=now.challenger.version,
            canary=now.canary,
            champion=_interval(decision.champion),
            challenger=_interval(decision.challenger),
            promote_evidence=decision.evidence_better,
            promote_threshold=decision.threshold_better,
            rollback_evidence=decision.evidence_worse,
            rollback_threshold=decision.threshold_worse,
        )

    # ------------------------------------------------------------ commands

    def _commanded(self, draft: Draft, event: DeploymentCommand) -> None:
        change = commands.decide(draft.state, event)
        if change is None:
            return
        draft.apply(change)
        if isinstance(event, e.RollbackCommand) and event.forced is not None:
            # Nobody would watch another canary now; the next Tick begins it.
            draft.update(overtaken=event.overtakes)
        elif change.kind == "resumed":
            self._ticked(draft)  # what a trial has earned meanwhile is due
        else:
            self._start_next(draft)


# Our own output on topics that we read: nothing follows from it.
_UNREAD = (
    e.StageChanged,
    e.ApprovalChanged,
    e.VersionObserved,
    e.CanaryObserved,
    e.ExperimentObserved,
    e.RetrainCommand,
)


def _interval(arm: canary.Arm) -> e.Interval:
    """Approval with its exact 95 % interval; the whole range when nobody rated."""
    low, high = arm.interval
    return e.Interval(point=arm.rate or 0.0, low=low, high=high, n=arm.rated)
