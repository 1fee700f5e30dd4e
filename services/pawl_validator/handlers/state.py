"""What the validator knows of one model, and how a change of its deployment becomes events."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from pawl_shared import events as e
from pawl_shared.ids import derived_id
from pawl_shared.policies.model_policy import Governing
from pawl_shared.running.fold import Delivery
from pawl_shared.stores.port import Effect
from pawl_validator.domain import registry
from pawl_validator.domain.canary import CanaryPolicy, CanaryState
from pawl_validator.domain.deployment import Change, Deployment
from pawl_validator.domain.series import Series
from pawl_validator.handlers import experiments
from pawl_validator.handlers.experiments import Trying

OVER: frozenset[e.Stage] = frozenset({"champion", "retired", "rejected"})


class Trial(BaseModel):
    """The policy under which a canary began: it is tried by this to its end, whatever is configured meanwhile."""

    model_config = ConfigDict(frozen=True)

    policy: CanaryPolicy
    digest: str | None


class Candidate(BaseModel):
    """What is needed to measure a version again, and to show a person what the gates found."""

    model_config = ConfigDict(frozen=True)

    trained: e.AdapterTrained
    report: str | None = None


class ModelState(BaseModel):
    """The fold's state for one model.

    Args:
        runs: the run whose evaluation decides about a version.
        candidates: versions from their training to the end of their canary.
        overtaken: the commands before which a rollback was forced.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    deployment: Deployment | None = None
    canary: CanaryState = CanaryState()
    stages: registry.Stages = {}
    runs: dict[str, UUID] = {}
    candidates: dict[str, Candidate] = {}
    configured: Governing | None = None
    trial: Trial | None = None
    series: Series = Series()
    experiment: Trying | None = None
    overtaken: tuple[UUID, ...] = ()

    @property
    def digest(self) -> str | None:
        """Of the policy that is valid now."""
        return self.configured.digest if self.configured else None


@dataclass
class Draft:
    """A step in the making: the state as it changes, the events so far, and what is owed."""

    state: ModelState
    delivery: Delivery
    source: str
    events: list[e.Event] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    @property
    def at(self) -> datetime:
        """The broker's time of what is handled: the same in a replay."""
        return self.delivery.at

    def update(self, **changes: object) -> None:
        """Change the state."""
        self.state = self.state.model_copy(update=changes)

    def id(self, kind: str) -> UUID:
        """The id of an event of this kind that follows from what is handled."""
        return derived_id(self.delivery.event.id, kind)

    def move(self, version: str, stage: e.Stage, reasons: tuple[str, ...], who: str = "pawl") -> None:
        """Put a version into a stage. Raises ValueError when that stage cannot follow."""
        stages, before = registry.move(self.state.stages, version, stage)
        self.update(stages=stages)
        if stage in OVER:
            left = {name: known for name, known in self.state.candidates.items() if name != version}
            self.update(candidates=left)
        self.events.append(
            e.StageChanged(
                id=self.id(f"{e.StageChanged.TYPE} {version} {stage}"),
                time=self.at,
                source=self.source,
                cause=self.delivery.event.id,
                model=self.state.model,
                version=version,
                before=before,
                stage=stage,
                reasons=reasons,
                who=who,
            )
        )

    def apply(self, change: Change) -> None:
        """Take a new revision: the deployment first, because replicas wait for it, then the stages."""
        now, before = change.deployment, self.state.deployment
        digest = self.state.trial.digest if self.state.trial else self.state.digest
        ended = before.experiment if before and now.experiment is None else None
        if ended is not None and change.kind != "experiment-over":
            change = change.model_copy(update={"reasons": (*change.reasons, f"the experiment {ended.name} ends by it")})
        self.update(deployment=now)
        if now.canary is None or change.kind == "canary":
            # Its hours count from here: a challenger that no replica can load never gets a session.
            started = self.at if change.kind == "canary" else None
            self.update(canary=CanaryState(started=started), trial=None)
        self.events.append(
            e.DeploymentChanged(
                id=self.id(f"{e.DeploymentChanged.TYPE} {now.revision}"),
                time=self.at,
                source=self.source,
                cause=self.delivery.event.id,
                model=now.model,
                revision=now.revision,
                champion=now.champion,
                challenger=now.challenger,
                share=now.share,
                canary=now.canary,
                change=change.kind,
                reasons=change.reasons,
                numbers=change.numbers,
                who=change.who,
                policy=digest,
                pinned=now.pinned,
                experiment=now.experiment,
            )
        )
        for version, stage in change.stages:
            self.move(version, stage, change.reasons, change.who)
        if ended is not None:
            self.tell(ended, over=True)
            self.update(experiment=None)
        if change.kind == "experiment" and now.experiment is not None:
            self.update(experiment=experiments.begin(now.experiment, self.at))

    def tell(self, experiment: e.Experiment, over: bool = False) -> None:
        """Report where an experiment stands."""
        assert self.state.experiment is not None, "what runs is known"
        trying = self.state.experiment
        envelope = {
            "id": self.id(e.ExperimentObserved.TYPE),
            "time": self.at,
            "source": self.source,
            "cause": self.delivery.event.id,
            "model": self.state.model,
        }
        self.events.append(experiments.observed(experiment, trying, over, envelope))
        self.update(experiment=trying.model_copy(update={"told": trying.known.sessions}))
