"""What is said of a whole session spreads over its answers, by policy. Pure; the order of arrival changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from pawl_shared.events import FeedbackReceived, InferenceLogged
from pawl_shared.policies.reward_policy import RewardPolicy
from pawl_streams import scoring
from pawl_streams.feedback_join import Answer, Statement, answer_key, revised, with_latest

# An outcome reaches a session's last answers. One more is remembered, so that the one that has just lost its share is
# told again when a crash repeats the event.
MAX_ANSWERS = 50
MAX_NAMES = 16
_SLOT = "outcome/"


class Session(BaseModel):
    """The answers of a session, the last one last, and the latest outcome of each name."""

    model_config = ConfigDict(frozen=True)

    answers: tuple[tuple[datetime, str], ...] = ()
    outcomes: Mapping[str, Statement] = {}


def session_key(event: InferenceLogged | FeedbackReceived) -> str:
    """The session that an event belongs to."""
    return f"session/{event.model}/{event.session}"


def concerns_session(event: InferenceLogged | FeedbackReceived) -> bool:
    """Whether an event can change what a session's answers are worth."""
    return isinstance(event, InferenceLogged) or event.kind == "outcome"


def arrived(session: Session, event: InferenceLogged | FeedbackReceived, policy: RewardPolicy) -> Session:
    """The session with one more answer or outcome."""
    if isinstance(event, InferenceLogged):
        answers = sorted({*session.answers, (event.time, answer_key(event))})
        return session.model_copy(update={"answers": tuple(answers[-MAX_ANSWERS - 1 :])})
    value = scoring.score(event, policy)
    if value is None:
        return session
    statement = Statement(time=event.time, id=str(event.id), score=value)
    outcomes = with_latest(session.outcomes, event.name, statement, MAX_NAMES)
    return session.model_copy(update={"outcomes": outcomes})


def shares(session: Session, policy: RewardPolicy) -> dict[str, float]:
    """How much of an outcome's weight each answer of the session gets."""
    keys = [key for _, key in reversed(session.answers)]
    return {key: policy.discount**place if place < MAX_ANSWERS else 0.0 for place, key in enumerate(keys)}


def assigned(answer: Answer, session: Session, share: float) -> Answer:
    """The answer with its share of the session's outcomes."""
    own = {slot: statement for slot, statement in answer.statements.items() if not slot.startswith(_SLOT)}
    spread = {
        _SLOT + name: statement.model_copy(update={"share": share}) for name, statement in session.outcomes.items()
    }
    return revised(answer, statements={**own, **(spread if share > 0 else {})})
