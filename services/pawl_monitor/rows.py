"""Events as rows of the monitor's tables. Every row of a table has the same columns, whatever is known.

`place` is where the event was read: partition and offset on its topic, for questions about an earlier state.
"""

from __future__ import annotations

import json

from pawl_monitor.domain.approval import ApprovalState
from pawl_monitor.domain.detectors import Decision
from pawl_shared import events as e
from pawl_shared.stores.port import Row

Place = tuple[int, int]
to_json = json.JSONEncoder(ensure_ascii=False).encode


def interaction_rows(event: e.InteractionScored, place: Place) -> list[Row]:
    """The revision, and the answer or feedback that it brought."""
    rows = [_score(event, place)]
    if event.inference is not None:
        rows.append(_answer(event, event.inference, place))
    if event.feedback is not None:
        rows.append(_feedback(event.feedback, place))
    return rows


def evidence_row(event: e.SessionObserved, place: Place) -> Row:
    """A closed session."""
    return Row(
        "evidence",
        {
            "event_id": event.id,
            "time": event.time,
            "model": event.model,
            "session": event.session,
            "subject": event.subject,
            "arm": event.arm,
            "version": event.version,
            "canary": event.canary,
            "deployment": event.revision,
            "reward": event.reward,
            "answers": event.answers,
            "rated": event.rated,
            "words": event.statistics.get("words"),
            "seconds": event.statistics.get("seconds"),
            "started": event.started,
            "ended": event.ended,
            "part": place[0],
            "position": place[1],
        },
    )


def detector_row(event: e.SessionObserved, state: ApprovalState, decision: Decision, place: Place) -> Row:
    """What the detector made of it."""
    return Row(
        "detector",
        {
            "event_id": event.id,
            "time": event.time,
            "model": event.model,
            "version": event.version,
            "sessions": state.n,
            "reference": state.bound[0].q,
            "drop_evidence": decision.evidence["drop"],
            "rise_evidence": decision.evidence["rise"],
            "part": place[0],
            "position": place[1],
        },
    )


def record_row(event: e.Event, place: Place) -> Row:
    """A control event as it was published."""
    return Row(
        "records",
        {
            "event_id": event.id,
            "time": event.time,
            "type": event.TYPE,
            "model": str(getattr(event, "model", "")),
            "run": event.id if isinstance(event, e.RetrainRequested) else getattr(event, "run", None),
            "value": event.model_dump_json(exclude={"id", "time"}),
            "part": place[0],
            "position": place[1],
        },
    )


def replica_row(event: e.ReplicaReported) -> Row:
    """A replica's report."""
    value = event.model_dump_json(exclude={"id", "time"})
    columns = {"event_id": event.id, "time": event.time, "replica": event.replica, "healthy": event.healthy}
    return Row("replicas", columns | {"value": value})


def dead_letter_row(event: e.DeadLetter) -> Row:
    """A dead letter without its content, which stays on its topic."""
    return Row(
        "dead_letters",
        {
            "event_id": event.id,
            "time": event.time,
            "service": event.service,
            "topic": event.topic,
            "part": event.partition,
            "position": event.offset,
            "reason": event.reason,
        },
    )


def _score(event: e.InteractionScored, place: Place) -> Row:
    return Row(
        "scores",
        {
            "event_id": event.id,
            "time": event.time,
            "inference_id": event.inference_id,
            "choice": event.choice,
            "model": event.model,
            "session": event.session,
            "revision": event.revision,
            "reward": event.reward,
            "rated": event.rated,
            "joined": event.joined,
            "part": place[0],
            "position": place[1],
        },
    )


def _answer(event: e.InteractionScored, inference: e.InferenceLogged, place: Place) -> Row:
    return Row(
        "answers",
        {
            "event_id": event.id,
            "time": inference.time,
            "inference_id": inference.inference_id,
            "choice": inference.choice,
            "model": inference.model,
            "session": inference.session,
            "subject": inference.subject,
            "messages": to_json([{"role": m.role, "content": m.content} for m in inference.messages]),
            "answer": inference.answer,
            "finish_reason": inference.finish_reason,
            "arm": inference.arm,
            "version": inference.version,
            "canary": inference.canary,
            "deployment": inference.revision,
            "words": inference.words,
            "prompt_tokens": inference.prompt_tokens,
            "answer_tokens": inference.answer_tokens,
            "first_token_seconds": inference.first_token_seconds,
            "total_seconds": inference.total_seconds,
            "part": place[0],
            "position": place[1],
        },
    )


def _feedback(feedback: e.FeedbackReceived, place: Place) -> Row:
    return Row(
        "feedback",
        {
            "feedback_id": feedback.id,
            "time": feedback.time,
            "inference_id": feedback.inference_id,
            "choice": feedback.choice,
            "model": feedback.model,
            "session": feedback.session,
            "subject": feedback.subject,
            "kind": feedback.kind,
            "name": feedback.name,
            "value": feedback.value,
            "text": feedback.text,
            "other_inference_id": feedback.other_inference_id,
            "part": place[0],
            "position": place[1],
        },
    )
