"""The validator's fold: commands, candidates and evidence in; deployments, stages and owed work out. All I/O is the
runner's, so the state, its decision and the offsets are one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pydantic import BaseModel

from pawl_shared import events as e
from pawl_shared import topics
from pawl_shared.fold import Delivery, Step
from pawl_shared.ids import derived_id
from pawl_shared.model_policy import Gates, Governing, Probes
from pawl_shared.stores.port import Effect
from pawl_validator.domain import canary, deployment, experiment
from pawl_validator.domain import statistics as st
from pawl_validator.domain.deployment import RefusedError, Waiting
from pawl_validator.handlers import commands, experiments
from pawl_validator.handlers.commands import DeploymentCommand
from pawl_validator.handlers.state import Draft, ModelState, Trial

REGISTER = "register"
EVALUATE = "evaluate"

# Where a canary stands is told at each block at first, then at every tenth: thousands of records help nobody.
TOLD_BLOCKS = 50


class EvaluationOrder(BaseModel):
    """Payload of the effect that measures a candidate beside the champion of that moment."""

    trained: e.AdapterTrained
    champion: e.DeployedVersion
    gates: Gates = Gates()
    probes: Probes = Probes()
    policy: str | None = None


class DeploymentFold:
    """One model's way from candidate to champion, or out. `policy`: of canaries while nothing is configured."""

    name = "deployments"
    topics = tuple(t.name for t in (topics.COMMANDS, topics.CANDIDATES, topics.MODELS, topics.EVIDENCE))
    state = ModelState

    def __init__(self, policy: canary.CanaryPolicy, source: str) -> None:
        self._policy, self._source = policy, source

    def keys(self, event: e.Event) -> Sequence[str]:
        model = getattr(event, "model", None)
        return [] if model is None or isinstance(event, _UNREAD) else [model]

    def step(self, key: str, state: ModelState | None, delivery: Delivery) -> Step[ModelState]:
        draft = Draft(state or ModelState(model=key), delivery, self._source)
        effects: list[Effect] = []
        match delivery.event:
            case e.RegisterModelCommand() as event:
                effects.append(Effect(derived_id(event.id, REGISTER), REGISTER, event.model_dump_json()))
            case e.ConfigureModelCommand() as event:
                draft.update(configured=Governing(policy=event.policy, digest=event.digest))
            case e.ModelRegistered() as event:
                self._registered(draft, event)
            case e.AdapterTrained() as event:
                effects += self._trained(draft, event)
            case e.CandidateValidated() as event:
                self._validated(draft, event)
            case e.CandidateRejected() as event:
                self._rejected(draft, event)
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
        return Step(draft.state, events=tuple(draft.events), effects=tuple(effects))

    # ------------------------------------------------------------ candidates

    def _registered(self, draft: Draft, event: e.ModelRegistered) -> None:
        if event.kind != "base":
            return
        served = e.DeployedVersion(version=event.version, base=event.base, graph=event.graph)
        change = deployment.register(event.model, draft.state.deployment, served, "pawl")
        if change is not None:
            draft.apply(change)

    def _trained(self, draft: Draft, event: e.AdapterTrained) -> list[Effect]:
        now = draft.state.deployment
        known = draft.state.stages.get(event.adapter)
        if now is None:
            self._refuse(draft, event, "no base is registered for this model: `pawl up` or RegisterModelCommand first")
            return []
        if known is not None:
            self._refuse(draft, event, f"training gave the weights of a version again that already is {known}")
            return []
        draft.update(runs={**draft.state.runs, event.adapter: event.run})
        draft.move(event.adapter, "candidate", (f"trained by {event.recipe}",))
        order = self._order(draft.state, event, now.champion)
        return [Effect(derived_id(event.id, EVALUATE), EVALUATE, order.model_dump_json())]

    @staticmethod
    def _order(state: ModelState, event: e.AdapterTrained, champion: e.DeployedVersion) -> EvaluationOrder:
        if state.configured is None:
            return EvaluationOrder(trained=event, champion=champion)
        policy = state.configured.policy
        return EvaluationOrder(
            trained=event,
            champion=champion,
            gates=policy.gates,
            probes=policy.probes,
            policy=state.configured.digest,
        )

    def _refuse(self, draft: Draft, event: e.AdapterTrained, reason: str) -> None:
        draft.events.append(
            e.CandidateRejected(
                id=draft.id(e.CandidateRejected.TYPE),
                time=draft.at,
                source=self._source,
                cause=event.id,
                model=event.model,
                run=event.run,
                adapter=event.adapter,
                reasons=(reason,),
                policy=draft.state.digest,
            )
        )

    def _validated(self, draft: Draft, event: e.CandidateValidated) -> None:
        now = draft.state.deployment
        if now is None or not _decides(draft.state, event.adapter, event.run):
            return
        draft.move(event.adapter, "validated", ("every gate passed",))
        served = e.DeployedVersion(
            version=event.adapter, base=now.champion.base, graph=event.graph, slot_file=event.slot_file
        )
        try:
            draft.update(deployment=deployment.enqueue(now, Waiting(served=served, run=event.run)))
        except RefusedError as error:
            draft.move(event.adapter, "retired", (str(error),))
            return
        self._start_next(draft)

    def _rejected(self, draft: Draft, event: e.CandidateRejected) -> None:
        if _decides(draft.state, event.adapter, event.run):
            draft.move(event.adapter, "rejected", event.reasons)

    def _start_next(self, draft: Draft) -> None:
        now = draft.state.deployment
        if now is None or not now.queue:
            return
        policy, series = self._current(draft.state), draft.state.series
        level = series.level(policy.alpha_series, policy.alpha_promote)
        policy = policy.model_copy(update={"alpha_promote": level})
        change = deployment.start_next(now, derived_id(now.queue[0].run, "canary"), policy.share)
        if change is not None:
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
        if now is None or now.canary is None or event.canary != now.canary or event.arm == "pinned":
            return
        seen = canary.Observation(
            event.arm == "challenger", event.reward, draft.at, event.statistics, event.prompt_sketch
        )
        before = draft.state.canary.blocks
        state, decision = canary.step(self._trying(draft.state), draft.state.canary, seen)
        draft.update(canary=state)
        tell = state.blocks != before and (state.blocks <= TOLD_BLOCKS or state.blocks % 10 == 0)
        if tell or decision.action != "continue":
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
        assert draft.state.deployment is not None, "a canary belongs to a deployment"
        change = deployment.conclude(draft.state.deployment, decision)
        if change is not None:
            if decision.action == "promote":
                draft.update(series=draft.state.series.promote())
            draft.apply(change)
            self._start_next(draft)

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


def _decides(state: ModelState, adapter: str, run: UUID) -> bool:
    """Whether this verdict is the one that the candidate waits for."""
    return state.runs.get(adapter) == run and state.stages.get(adapter) == "candidate"


def _interval(arm: canary.Arm) -> e.Interval:
    """Approval with its exact 95 % interval; the whole range when nobody rated."""
    good = round(arm.reward)
    return e.Interval(
        point=arm.rate or 0.0,
        low=st.lower_rate(good, arm.rated, 0.025),
        high=st.upper_rate(good, arm.rated, 0.025),
        n=arm.rated,
    )
