"""Sessions: the answers of one visit and what people said of them, until nothing happens for a while.

A session is the unit of every statistical decision (thumbs of one person are correlated: detectors fed with single
thumbs raised up to 81 false alarms per 100,000, fed with sessions 0.07). It closes an idle gap after its last event
arrived, when a tick has passed it: both in the broker's time, so that a backlog cannot cut a session in two. It is
observed once; whatever comes later changes the stored data, never evidence that was spent.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import isfinite
from uuid import UUID

from pawl_shared.events import Arm, InferenceLogged, InteractionScored, SessionObserved
from pawl_shared.ids import derived_id

MAX_METRICS = 16  # names of an app's own numbers that are kept of one answer


@dataclass(frozen=True, slots=True)
class Answered:
    """What evidence needs to know of the inference itself; no text."""

    arm: Arm
    version: str
    canary: UUID | None
    deployment: int
    subject: str | None
    time: datetime
    statistics: dict[str, float]
    sketch: str = ""
    experiment: UUID | None = None
    experiment_arm: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    language: str | None = None

    @property
    def met(self) -> tuple[object, ...]:
        """What answered."""
        return self.version, self.arm, self.canary, self.experiment, self.experiment_arm


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as far as it is known: the inference may come after its feedback. `metrics`: by name, the revision
    that told of it and its value."""

    revision: int
    reward: float | None = None
    answered: Answered | None = None
    metrics: dict[str, tuple[int, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Session:
    """State of one session: open while it gathers answers, then only a mark that it was observed."""

    model: str
    session: str
    ended: datetime
    arrived: datetime
    answers: dict[str, Answer] = field(default_factory=dict)
    observed: bool = False


@dataclass(frozen=True)
class SessionPolicy:
    """gap: idle time after which a session is over. remembered: how long its mark stays, so that a late answer or a
    late thumb cannot make evidence a second time; as long as streams waits for feedback."""

    gap: timedelta = timedelta(minutes=30)
    remembered: timedelta = timedelta(days=7)

    def step(self, state: Session | None, event: InteractionScored, at: datetime) -> tuple[Session, datetime]:
        """Take in one revision of one answer that arrived `at`; answers the state and when its timer is due."""
        if state is not None and state.observed:
            return state, state.arrived + self.remembered
        known = {} if state is None else state.answers
        key = f"{event.inference_id.hex}/{event.choice}"
        new = Session(
            model=event.model,
            session=event.session,
            answers={**known, key: _revise(known.get(key), event)},
            ended=event.time if state is None else max(state.ended, event.time),
            arrived=at if state is None else max(state.arrived, at),
        )
        return new, new.arrived + self.gap

    def close(
        self, state: Session, now: datetime, source: str
    ) -> tuple[Session | None, datetime | None, SessionObserved | None]:
        """What passes when `now` is reached: the state (none: forget it), its next due time, and the observation."""
        if state.observed:
            due = state.arrived + self.remembered
            return (None, None, None) if now >= due else (state, due, None)
        due = state.arrived + self.gap
        if now < due:
            return state, due, None
        observed, forgotten = observe(state, due, source), state.arrived + self.remembered
        if observed is None:  # feedback alone: its answer may wait in a journal for a broker that is away
            return (None, None, None) if now >= forgotten else (state, forgotten, None)
        closed = Session(state.model, state.session, state.ended, state.arrived, {}, observed=True)
        return closed, forgotten, observed


def observe(state: Session, closed: datetime, source: str) -> SessionObserved | None:
    """The evidence of a session, or none when no inference of it is known.

    A session that met two versions or arms (a deployment changed during it) speaks for the first alone: what people
    say of the second is coloured by what they saw before.
    """
    known = sorted(
        ((a.answered.time, key, a, a.answered) for key, a in state.answers.items() if a.answered is not None),
        key=lambda item: item[:2],
    )
    if not known:
        return None
    first = known[0][3]
    met = first.met
    same = [(a, i) for _, _, a, i in known if i.met == met]
    rewards = [a.reward for a, _ in same if a.reward is not None]
    cause = UUID(known[0][1].partition("/")[0])
    return SessionObserved(
        id=derived_id(cause, SessionObserved.TYPE),
        time=closed,
        source=source,
        cause=cause,
        model=state.model,
        session=state.session,
        subject=first.subject,
        arm=first.arm,
        version=first.version,
        canary=first.canary,
        revision=first.deployment,
        reward=sum(rewards) / len(rewards) if rewards else None,
        answers=len(same),
        rated=len(rewards),
        statistics=_means([i.statistics for _, i in same]) | _metrics([a.metrics for a, _ in same]),
        prompt_sketch=first.sketch,
        experiment=first.experiment,
        experiment_arm=first.experiment_arm,
        tags=first.tags,
        language=first.language,
        started=first.time,
        ended=state.ended,
    )


def statistics_of(inference: InferenceLogged) -> dict[str, float]:
    """Numbers about one answer that say nothing of its content."""
    words = float(inference.words)
    return {
        "words": words,
        "tokens": float(inference.answer_tokens),
        "seconds": inference.total_seconds,
        "first_token_seconds": inference.first_token_seconds,
        "cut": float(inference.finish_reason == "length"),
        "empty": float(not words),
        "failed": float(inference.failed),
        "cancelled": float(inference.finish_reason == "cancelled" and not inference.failed),
    }


def _revise(known: Answer | None, event: InteractionScored) -> Answer:
    """The latest revision's reward wins, in whatever order revisions come; the inference is kept once it is known."""
    answered = _answered(event, event.inference) if event.inference else known.answered if known else None
    metrics = _measured(known.metrics if known else {}, event)
    if known is not None and known.revision >= event.revision:
        return replace(known, answered=known.answered or answered, metrics=metrics)
    reward = event.reward if event.joined else None
    return Answer(revision=event.revision, reward=reward, answered=answered, metrics=metrics)


def _measured(known: dict[str, tuple[int, float]], event: InteractionScored) -> dict[str, tuple[int, float]]:
    """The app's own numbers of one answer: the latest of each name, and of MAX_METRICS names.

    A number that weighs nothing in the reward makes no new revision; of such ones the last to arrive stands.
    """
    said = event.feedback
    if said is None or said.kind != "metric" or said.value is None or said.review is not None:
        return known
    latest, _ = known.get(said.name, (-1, 0.0))
    if latest > event.revision or (said.name not in known and len(known) >= MAX_METRICS):
        return known
    return known | {said.name: (event.revision, said.value)}


def _answered(event: InteractionScored, inference: InferenceLogged) -> Answered:
    statistics = statistics_of(inference)
    if (repetition := event.statistics.get("answer_repetition")) is not None:
        statistics["repetition"] = repetition
    return Answered(
        arm=inference.arm,
        version=inference.version,
        canary=inference.canary,
        deployment=inference.revision,
        subject=inference.subject,
        time=inference.time,
        statistics=statistics,
        sketch=event.prompt_sketch,
        experiment=inference.experiment,
        experiment_arm=inference.experiment_arm,
        tags=inference.metadata,
        language=event.language,
    )


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    names = set(rows[0]).intersection(*rows)  # C loops: a session of two answers has eight names
    return {name: sum([row[name] for row in rows]) / len(rows) for name in rows[0] if name in names}


def _metrics(answers: list[dict[str, tuple[int, float]]]) -> dict[str, float]:
    """Means over the answers for which there is one."""
    found: dict[str, list[float]] = {}
    for answer in answers:
        for name, (_, value) in answer.items():
            found.setdefault(f"metric/{name}", []).append(value)
    return {name: mean for name, values in found.items() if isfinite(mean := sum(values) / len(values))}
