"""Feedback meets its answer, in either order. Pure: the same events in any order, with any repeats, end in one state.

The state of an answer holds ids, scores and a sketch; texts travel in the revisions and are joined in the monitor's
store. It is bounded: of each slot (a kind, or a kind and name) only the latest statement is kept, of the slots at most
MAX_SLOTS with the latest, and what weighs nothing leaves no trace. No list of ids that were seen is needed: taking in a
statement twice changes nothing, and its revision has the same id again, so whoever reads it has seen it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from pawl_shared.events import FeedbackReceived, InferenceLogged, InteractionScored
from pawl_shared.ids import derived_id
from pawl_shared.policies.reward_policy import RewardPolicy
from pawl_streams import scoring

MAX_SLOTS = 64
WAITING = "its answer is not known (yet)"


class Statement(BaseModel):
    """The latest statement in a slot: a score, or the sketch of a correction."""

    model_config = ConfigDict(frozen=True)

    time: datetime
    id: str
    score: float = 0.0
    sketch: str = ""
    share: float = 1.0


class Answer(BaseModel):
    """What is known of one answer. `revision` counts its changes."""

    model_config = ConfigDict(frozen=True)

    known: bool = False
    revision: int = 0
    sketch: str = ""
    statements: Mapping[str, Statement] = {}


def slot_of(feedback: FeedbackReceived) -> str:
    """What a later statement replaces: the same kind, and for some kinds the same name or the same other answer."""
    other = f"{feedback.other_inference_id}/{feedback.other_choice}".removesuffix("/0")
    qualifier = other if feedback.kind == "comparison" else feedback.name
    return f"{feedback.kind}/{qualifier}" if qualifier else feedback.kind


def answer_key(event: InferenceLogged | FeedbackReceived | InteractionScored) -> str:
    """The answer that an event is about."""
    return f"{event.inference_id}/{event.choice}"


def join(
    answer: Answer, event: InferenceLogged | FeedbackReceived, policy: RewardPolicy, source: str
) -> tuple[Answer, InteractionScored]:
    """The answer's next state, and the revision to publish.

    The state has to be stored before the revision is published: a crash in between repeats the event, whose revision
    then tells of all that is stored, under the same id. In the other order a revision could be out that no state knows.
    """
    if isinstance(event, InferenceLogged):
        new = revised(answer, known=True, sketch=scoring.sketch(event.answer) if policy.unchanged < 1 else "")
    else:
        new = _stated(answer, event, policy)
    return new, InteractionScored(
        id=derived_id(event.id, "scored"),
        time=event.time,
        source=source,
        cause=event.id,
        inference_id=event.inference_id,
        choice=event.choice,
        model=event.model,
        session=event.session,
        inference=event if isinstance(event, InferenceLogged) else None,
        feedback=event if isinstance(event, FeedbackReceived) else None,
        **standing(new, policy),
    )


def standing(answer: Answer, policy: RewardPolicy) -> dict[str, object]:
    """The fields of a revision that tell where an answer stands."""
    scores = [(slot, _score(answer, slot, said, policy), said.share) for slot, said in answer.statements.items()]
    value, rated = scoring.reward(scores, policy)
    reason = "" if answer.known else WAITING
    return {"revision": answer.revision, "reward": value, "rated": rated, "joined": answer.known, "reason": reason}


def revised(answer: Answer, **changes: object) -> Answer:
    """The answer with these changes; another revision if they are any."""
    new = answer.model_copy(update=changes)
    return answer if new == answer else new.model_copy(update={"revision": answer.revision + 1})


def _stated(answer: Answer, event: FeedbackReceived, policy: RewardPolicy) -> Answer:
    if event.review is not None:
        return answer  # somebody asked to judge it: kept and learnt from, and never evidence of what users think
    weight, value = policy.of(event.kind, event.name), scoring.score(event, policy)
    # What is said of a session comes to its answers by `outcomes`.
    if weight is None or event.kind == "outcome" or (value is None and event.kind != "correction"):
        return answer
    words = scoring.sketch(event.text or "") if event.kind == "correction" and policy.unchanged < 1 else ""
    statement = Statement(time=event.time, id=str(event.id), score=value or 0.0, sketch=words)
    return revised(answer, statements=with_latest(answer.statements, slot_of(event), statement, MAX_SLOTS))


S = TypeVar("S", bound=Statement)


def with_latest(statements: Mapping[str, S], slot: str, new: S, limit: int) -> dict[str, S]:
    """The slots with one more statement. Later wins; at the same instant the greater id, so that the order of arrival
    does not matter; beyond `limit` the slot of the oldest statement goes, which no order of arrival could keep."""
    old = statements.get(slot)
    if old is not None and (old.time, old.id) >= (new.time, new.id):
        return dict(statements)
    kept = sorted({**statements, slot: new}.items(), key=lambda item: (item[1].time, item[1].id, item[0]))
    return dict(sorted(kept[-limit:]))


def _score(answer: Answer, slot: str, statement: Statement, policy: RewardPolicy) -> float:
    if slot == "correction":
        return scoring.correction_score(answer.sketch, statement.sketch, policy.unchanged)
    return statement.score
