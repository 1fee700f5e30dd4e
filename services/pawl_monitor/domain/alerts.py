"""What people are told about: alarms and their end, and the health of the loop. One alert for each beginning and end.

Everything follows from events on the log, so a restart or a replay gives the same alerts under the same ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import NAMESPACE_OID, UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field

from pawl_shared import events as e
from pawl_shared.ids import derived_id

Kind = Literal["drift", "training", "candidates", "replica", "dead-letters", "lag", "review", "approval"]
Severity = Literal["critical", "warning"]

GONE = timedelta(hours=1)  # a replica reports every 20 s; who was silent for so long is expected no more

LOOP = "loop"
"""The key of what concerns no single model."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Alert(Frozen):
    """One message to people. `alarm` is the same for the beginning and the end of one trouble, `id` for each copy."""

    id: UUID
    alarm: UUID
    kind: Kind
    severity: Severity
    state: Literal["firing", "resolved"]
    model: str = Field(description="or `loop`, where no single model is concerned")
    time: datetime
    began: datetime = Field(description="when the trouble began")
    title: str
    sentence: str


class Trouble(Frozen):
    """What is open: a rule that fires."""

    alarm: UUID
    kind: Kind
    severity: Severity
    title: str
    began: datetime


class Place(Frozen):
    """Where a replica is."""

    revision: int
    healthy: bool
    problems: tuple[str, ...] = ()
    heard: datetime | None = None


class Health(Frozen):
    """State of one model, or of the loop."""

    open: dict[str, Trouble] = {}
    failures: int = 0
    refusals: int = 0
    revision: int = 0
    deployed: datetime | None = None
    replicas: dict[str, Place] = {}
    letters: int = 0
    last_letter: datetime | None = None
    behind: int = 0


@dataclass(frozen=True)
class AlertRules:
    """When the loop itself is in trouble.

    failures, refusals: training runs that failed, and candidates that were refused, in a row.
    replica: time after a deployment by which each replica should have applied it.
    lag: records that the monitor has yet to read, at `lag_ticks` ticks in a row.
    quiet: time without a further dead letter after which that trouble is over.
    """

    failures: int = 2
    refusals: int = 3
    replica: timedelta = timedelta(minutes=1)
    lag: int = 50_000
    lag_ticks: int = 5
    quiet: timedelta = timedelta(hours=1)

    def step(self, state: Health, key: str, event: e.Event, at: datetime) -> tuple[Health, tuple[Alert, ...]]:
        """One event of this key, and what is to be told. `at`: when it arrived."""
        draft = _Draft(state, key, event, at)
        match event:
            case e.DriftDetected() if event.fell:
                title = f"Approval of {key} has drifted"
                draft.fire(f"drift {event.id}", "drift", "critical", title, _advised(event), event.id)
            case e.DriftDetected() if not event.detector.startswith("approval"):
                title = f"{event.detector.partition('/')[0].capitalize()} of {key} has drifted"
                draft.note(f"drift {event.id}", "drift", "warning", title, _advised(event), event.id)
            case e.ReviewRequested():
                title = f"Answers of {key} wait for people to judge them"
                draft.note(f"review {event.id}", "review", "warning", title, event.sentence, event.id)
            case e.ApprovalChanged():
                self._approval(draft, event)
            case e.DriftResolved():
                draft.resolve(f"drift {event.alarm}", event.sentence)
            case e.TrainingFailed():
                self._failed(draft, event)
            case e.AdapterTrained():
                draft.update(failures=0)
                draft.resolve("training", "A run has ended in an adapter.")
            case e.CandidateRejected():
                self._refused(draft, event.reasons)
            case e.DeploymentChanged():
                self._deployed(draft, event)
            case e.ReplicaReported():
                self._reported(draft, event)
            case e.DeadLetter():
                self._buried(draft, event)
            case e.Tick():
                self._ticked(draft, event)
        return draft.state, tuple(draft.alerts)

    @staticmethod
    def _approval(draft: _Draft, event: e.ApprovalChanged) -> None:
        rule, short = f"approval {event.version} {event.step}", event.version[:12]
        why = "; ".join(event.reasons)
        if event.state == "requested":
            report = f" The gates' report is artifact {event.report}." if event.report else ""
            sentence = (
                f"Version {short} waits for approval of its {event.step}: {why}. `pawl approve {short} --why …` or "
                f"`pawl reject {short} --why …`.{report}"
            )
            draft.fire(rule, "approval", "warning", f"A version of {draft.key} waits for approval", sentence)
        else:
            draft.resolve(rule, f"The {event.step} is {event.state} by {event.who}: {why}.")

    def _failed(self, draft: _Draft, event: e.TrainingFailed) -> None:
        count = draft.state.failures + 1
        draft.update(failures=count)
        if count >= self.failures:
            title = f"Training of {draft.key} fails"
            draft.fire(
                "training", "training", "warning", title, f"{count} runs in a row: {event.reason} {event.advice}"
            )

    def _refused(self, draft: _Draft, reasons: tuple[str, ...]) -> None:
        count = draft.state.refusals + 1
        draft.update(refusals=count)
        if count >= self.refusals:
            title = f"Candidates for {draft.key} are refused"
            draft.fire("candidates", "candidates", "warning", title, f"{count} in a row: {'; '.join(reasons)}")

    def _deployed(self, draft: _Draft, event: e.DeploymentChanged) -> None:
        draft.update(revision=event.revision, deployed=draft.at)
        if event.change == "rolled-back" and event.who == "pawl":
            self._refused(draft, event.reasons)
        elif event.change == "promoted":
            draft.update(refusals=0)
            draft.resolve("candidates", "A candidate was promoted.")

    def _reported(self, draft: _Draft, event: e.ReplicaReported) -> None:
        if event.stopped:
            return self._forget(draft, event.replica, "It was stopped.")
        place = Place(
            revision=event.applied.get(draft.key, 0), healthy=event.healthy, problems=event.problems, heard=draft.at
        )
        return draft.update(replicas={**draft.state.replicas, event.replica: place})

    def _forget(self, draft: _Draft, replica: str, why: str) -> None:
        draft.resolve(f"replica {replica}", why)
        draft.update(replicas={name: place for name, place in draft.state.replicas.items() if name != replica})

    def _buried(self, draft: _Draft, event: e.DeadLetter) -> None:
        draft.update(letters=draft.state.letters + 1, last_letter=draft.at)
        sentence = (
            f"{event.service} could not read or handle a record of {event.topic}: {event.reason} "
            "(`pawl dead-letters list` counts them by reason)"
        )
        draft.fire("dead-letters", "dead-letters", "warning", "Records end in dead letters", sentence)

    def _ticked(self, draft: _Draft, event: e.Tick) -> None:
        state = draft.state
        if draft.key != LOOP:
            return self._replicas(draft)
        if state.last_letter is not None and draft.at - state.last_letter >= self.quiet:
            draft.resolve("dead-letters", f"{state.letters} in all; none since {state.last_letter:%H:%M:%S} UTC.")
            draft.update(letters=0, last_letter=None)
        if event.behind is None:
            return None
        behind = state.behind + 1 if event.behind >= self.lag else 0
        draft.update(behind=behind)
        sentence = f"{event.behind:,} records are yet to be read"
        if behind >= self.lag_ticks:
            draft.fire("lag", "lag", "warning", "The monitor is behind", f"{sentence}; alarms come late by so much.")
        elif event.behind < self.lag / 2:
            draft.resolve("lag", f"{sentence}.")
        return None

    def _replicas(self, draft: _Draft) -> None:
        state = draft.state
        overdue = state.deployed is not None and draft.at - state.deployed >= self.replica
        for name, place in state.replicas.items():
            rule, title = f"replica {name}", f"Replica {name} of {draft.key} is behind"
            if place.heard is not None and draft.at - place.heard >= GONE:
                self._forget(draft, name, f"It has said nothing since {place.heard:%Y-%m-%d %H:%M:%S} UTC: it is gone.")
            elif place.healthy and place.revision >= state.revision:
                draft.resolve(rule, f"It has applied revision {place.revision}.")
            elif overdue:
                why = "; ".join(place.problems) or "it has not said why"
                sentence = f"It is at revision {place.revision}, and {state.revision} is deployed: {why}."
                draft.fire(rule, "replica", "critical", title, sentence)


@dataclass
class _Draft:
    """One step in the making."""

    state: Health
    key: str
    event: e.Event
    at: datetime
    alerts: list[Alert] = field(default_factory=list)

    def update(self, **changes: object) -> None:
        self.state = self.state.model_copy(update=changes)

    def fire(
        self, rule: str, kind: Kind, severity: Severity, title: str, sentence: str, alarm: UUID | None = None
    ) -> None:
        """Tell it, unless this rule fires already."""
        if rule in self.state.open:
            return
        alarm = alarm or uuid5(NAMESPACE_OID, f"{self.key} {rule} {self.event.id}")
        trouble = Trouble(alarm=alarm, kind=kind, severity=severity, title=title, began=self.at)
        self.update(open={**self.state.open, rule: trouble})
        self._tell(rule, trouble, "firing", sentence)

    def note(self, rule: str, kind: Kind, severity: Severity, title: str, sentence: str, alarm: UUID) -> None:
        """Tell what has no end."""
        trouble = Trouble(alarm=alarm, kind=kind, severity=severity, title=title, began=self.at)
        self._tell(rule, trouble, "firing", sentence)

    def resolve(self, rule: str, sentence: str) -> None:
        """Tell that it is over, if it was told that it began."""
        if (trouble := self.state.open.get(rule)) is not None:
            self.update(open={name: other for name, other in self.state.open.items() if name != rule})
            self._tell(rule, trouble, "resolved", sentence)

    def _tell(self, rule: str, trouble: Trouble, state: Literal["firing", "resolved"], sentence: str) -> None:
        identity = derived_id(self.event.id, f"alert {self.key} {rule} {state}")
        self.alerts.append(
            Alert(
                id=identity, alarm=trouble.alarm, kind=trouble.kind, severity=trouble.severity, state=state,
                model=self.key, time=self.at, began=trouble.began, title=trouble.title, sentence=sentence.strip(),
            )
        )  # fmt: skip


def _advised(event: e.DriftDetected) -> str:
    return f"{event.sentence} {event.advice.sentence}" if event.advice else event.sentence


def keys_of(event: e.Event) -> Iterator[str]:
    """The keys of the state that an event concerns."""
    match event:
        case e.SessionObserved() | e.VersionObserved() | e.CanaryObserved():
            return
        case e.Tick():
            yield from (event.model, LOOP)
        case e.DeadLetter():
            yield LOOP
        case e.ReplicaReported():
            yield from event.applied
        case _:
            model: str = getattr(event, "model", "")
            if model:
                yield model
