"""Feedback meets its answer, in either order. Pure: the same events in any order, with any repeats, end in one state.

The state of an answer holds ids and scores only; texts travel in the revisions and are joined in the monitor's store.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from pawl_shared.events import FeedbackReceived, InferenceLogged, InteractionScored
from pawl_shared.ids import derived_id
from pawl_streams.scoring import RewardPolicy, reward, score


class Statement(BaseModel):
    """The latest statement in a slot."""

    model_config = ConfigDict(frozen=True)

    time: str
    id: str
    score: float | None


class Answer(BaseModel):
    """What is known of one answer."""

    model_config = ConfigDict(frozen=True)

    known: bool = False
    seen: frozenset[str] = frozenset()
    statements: Mapping[str, Statement] = {}


def slot_of(feedback: FeedbackReceived) -> str:
    """What a later statement replaces: the same kind, and for some kinds the same name or the same other answer."""
    qualifier = str(feedback.other_inference_id) if feedback.kind == "comparison" else feedback.name
    return f"{feedback.kind}/{qualifier}" if qualifier else feedback.kind


def answer_key(event: InferenceLogged | FeedbackReceived) -> str:
    """The answer that an event is about."""
    return f"{event.inference_id}/{event.choice}"


def join(
    answer: Answer, event: InferenceLogged | FeedbackReceived, policy: RewardPolicy, source: str
) -> tuple[Answer, InteractionScored]:
    """The answer's next state and the revision to publish.

    What was seen before changes nothing and is answered all the same, as a crash may have come between keeping it and
    publishing: the revision has the id that it had then, so whoever has read it drops it.
    """
    identity = str(event.id)
    statements = dict(answer.statements)
    if isinstance(event, FeedbackReceived):
        new = Statement(time=event.time.isoformat(), id=identity, score=score(event))
        old = statements.get(slot_of(event))
        # Later wins; at the same instant the greater id, so that the order of arrival does not matter.
        if identity not in answer.seen and (old is None or (old.time, old.id) < (new.time, new.id)):
            statements[slot_of(event)] = new
    known = answer.known or isinstance(event, InferenceLogged)
    new_answer = Answer(known=known, seen=answer.seen | {identity}, statements=statements)
    value, rated = reward({slot: s.score for slot, s in statements.items() if s.score is not None}, policy)
    return new_answer, InteractionScored(
        id=derived_id(event.id, "scored"),
        time=event.time,
        source=source,
        cause=event.id,
        inference_id=event.inference_id,
        choice=event.choice,
        model=event.model,
        session=event.session,
        revision=len(new_answer.seen),
        inference=event if isinstance(event, InferenceLogged) else None,
        feedback=event if isinstance(event, FeedbackReceived) else None,
        reward=value,
        rated=rated,
        joined=known,
    )
