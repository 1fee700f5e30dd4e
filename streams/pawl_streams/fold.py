"""One arrival: what it changes, and what is published. Pure; the agents and the simulation run the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pawl_shared.events import FeedbackReceived, InferenceLogged, InteractionScored
from pawl_shared.ids import derived_id
from pawl_shared.policies.reward_policy import RewardPolicy
from pawl_streams import outcomes
from pawl_streams.feedback_join import Answer, answer_key, join, standing
from pawl_streams.language import Identify
from pawl_streams.lateness import Window
from pawl_streams.outcomes import Session
from pawl_streams.policy import Policies
from pawl_streams.texts import prepare

Arrival = InferenceLogged | FeedbackReceived
# A stored state: JSON, or None where nothing is known.
Stored = Mapping[str, Any] | None
Look = Callable[[str], Stored]
# What a revision without text and feedback says.
STANDING = (
    "time", "source", "cause", "inference_id", "choice", "model", "session",
    "revision", "reward", "rated", "joined", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class Folded:
    """States by key, to be stored first; then revisions, to be published; how the join went."""

    states: Mapping[str, dict[str, Any]]
    revisions: tuple[InteractionScored, ...]
    outcome: str


@dataclass(frozen=True)
class JoinFold:
    """The whole of streams, between two topics and one."""

    source: str
    identify: Identify
    policies: Policies = field(default_factory=Policies)
    window: Window = field(default_factory=Window)

    def step(self, look: Look, arrival: Arrival, appended: datetime, floor: int = 0) -> Folded:
        """Take in one event that the broker appended then. Repeating it repeats its revisions, under the same ids.

        floor: its revisions are greater, and so are all later ones of these answers.
        """
        policy = self.policies.of(arrival.model)
        arrival, facts = prepare(arrival, policy.scrub, self.identify)
        if isinstance(arrival, FeedbackReceived) and (reason := self.window.late(arrival)):
            _, orphan = join(Answer(), arrival, policy.reward, self.source)
            late = {"revision": 0, "reward": None, "rated": False, "joined": False, "reason": reason}
            return Folded({}, (orphan.model_copy(update={**facts.fields, **late}),), "late")
        key = answer_key(arrival)
        before = _answer(look(key), floor)
        answers, states = {key: before}, dict[str, dict[str, Any]]()
        last = min(arrival.time, appended)
        if outcomes.concerns_session(arrival):
            session_key = outcomes.session_key(arrival)
            stored = look(session_key)
            session = outcomes.arrived(Session.model_validate(stored or {}), arrival, policy.reward)
            states[session_key] = _stored(session.model_dump(mode="json"), stored, last)
            answers |= _spread(session, answers, lambda other: _answer(look(other), floor), policy.reward)
        answers[key], revision = join(answers[key], arrival, policy.reward, self.source)
        others = (
            self._told(arrival, other, answer, policy.reward) for other, answer in answers.items() if other != key
        )
        for name, answer in answers.items():
            states[name] = _stored(answer.model_dump(mode="json", exclude_defaults=True), look(name), last)
        outcome = _outcome(before, answers[key], arrival)
        return Folded(states, (revision.model_copy(update=facts.fields), *others), outcome)

    def again(self, folded: Folded, epoch: Sequence[int]) -> list[InteractionScored]:
        """The same standings under ids of this epoch, for a record that another worker may have handled before.

        That one's revision has the id of the first one here, so readers drop this one's as a repeat; but it was made of
        fewer events where its states did not last. Without these, an answer would stand as the last revision with an
        id of its own said: for instance without the answer's text, if feedback was handled before it here.
        """
        if not folded.states:
            return []
        return [
            InteractionScored.model_validate(
                {name: getattr(revision, name) for name in STANDING}
                | {"id": derived_id(revision.id, f"again/{list(epoch)}")}
            )
            for revision in folded.revisions
        ]

    def droppable(self, state: Mapping[str, Any], partition: int, now: datetime) -> bool:
        """Whether a stored state of this partition can go when its events have reached `now`."""
        mine = state.get("partition") == partition and "last" in state
        return mine and self.window.over(datetime.fromisoformat(state["last"]), now)

    def _told(self, arrival: Arrival, key: str, answer: Answer, policy: RewardPolicy) -> InteractionScored:
        """A revision of another answer of the session; it brings no text and no feedback of its own."""
        inference_id, _, choice = key.rpartition("/")
        return InteractionScored.model_validate(
            {
                "id": derived_id(arrival.id, f"scored/{key}"),
                "time": arrival.time,
                "source": self.source,
                "cause": arrival.id,
                "inference_id": inference_id,
                "choice": int(choice),
                "model": arrival.model,
                "session": arrival.session,
                **standing(answer, policy),
            }
        )


def _spread(
    session: Session, answers: Mapping[str, Answer], look: Callable[[str], Answer], policy: RewardPolicy
) -> dict[str, Answer]:
    """The session's answers with their shares of its outcomes; none of them where it has no outcome."""
    if not session.outcomes:
        return {}
    shares = outcomes.shares(session, policy)
    found = {key: answers[key] if key in answers else look(key) for key in shares}
    return {key: outcomes.assigned(answer, session, shares[key]) for key, answer in found.items()}


def _answer(stored: Stored, floor: int) -> Answer:
    answer = Answer.model_validate(stored or {})
    return answer.model_copy(update={"revision": floor}) if answer.revision < floor else answer


def _stored(state: dict[str, Any], before: Stored, last: datetime) -> dict[str, Any]:
    """`last`: the latest time of the events in it, by which it is dropped one day."""
    old = before.get("last") if before else None
    return {**state, "last": max(last, datetime.fromisoformat(old)).isoformat() if old else last.isoformat()}


def _outcome(before: Answer, after: Answer, arrival: Arrival) -> str:
    if not after.known:
        return "waiting"
    return "found" if isinstance(arrival, InferenceLogged) and not before.known and before.statements else "joined"
