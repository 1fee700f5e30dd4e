"""Who agreed to what: verdicts of people, and news of what begins and ceases to wait for one."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pawl_shared import events as e
from pawl_validator.domain import approval
from pawl_validator.domain.approval import Awaited, Rule
from pawl_validator.domain.deployment import NO_REASON, Change, Deployment, RefusedError
from pawl_validator.handlers import candidates
from pawl_validator.handlers.state import Draft, ModelState


class Answer(NamedTuple):
    """Why something does not wait any more."""

    state: Literal["approved", "rejected", "withdrawn"]
    reasons: tuple[str, ...]
    who: str = "pawl"


def decided(draft: Draft, rule: Rule, event: e.ApproveCommand) -> Change | None:
    """Follow a verdict; the change of the deployment that it makes, if any. Raises RefusedError."""
    now = draft.state.deployment
    if now is None:
        raise RefusedError(f"nothing is deployed as {event.model}: register a base first")
    if event.verdict == "approve":
        result = approval.approve(now, rule, event.version, event.who, event.why)
    else:
        result = approval.reject(now, event.version, event.who, event.why)
    change = result if isinstance(result, Change) else None
    if isinstance(result, Deployment):
        draft.update(deployment=result)
    if event.verdict == "reject" and (change is None or change.kind == "experiment-over"):
        _refuse(draft, event, move=change is None)
    return change


def _refuse(draft: Draft, event: e.ApproveCommand, move: bool) -> None:
    """One from the queue has no future: who counts runs and refusals hears of it as of a gate's no.

    `move`: no change of the deployment does it.
    """
    reasons = (f"rejected by {event.who}: {event.why or NO_REASON}",)
    known = draft.state.candidates.get(event.version)
    if move:
        draft.move(event.version, "rejected", reasons, event.who)
    if known is not None:
        candidates.refuse(draft, known.trained, reasons)


def tell(draft: Draft, before: ModelState, rule_before: Rule, rule: Rule) -> None:
    """What a step changed in what waits for people."""
    was, now = _awaited(before, rule_before), _awaited(draft.state, rule)
    for each in was:
        if each not in now:
            answer = _answer(draft, each)
            draft.events.append(_event(draft, before, each, answer.state, answer.reasons, answer.who))
    for each in now:
        if each not in was:
            draft.events.append(_event(draft, draft.state, each, "requested", _why(draft.state, each)))


def _awaited(state: ModelState, rule: Rule) -> list[Awaited]:
    return list(approval.awaited(state.deployment, rule)) if state.deployment else []


def _why(state: ModelState, each: Awaited) -> tuple[str, ...]:
    earned = state.deployment.earned if state.deployment else None
    return earned.reasons if each.step == "promotion" and earned else ("every gate passed",)


def _answer(draft: Draft, each: Awaited) -> Answer:
    match draft.delivery.event:
        case e.ApproveCommand(version=each.version) as event:
            verdict: Literal["approved", "rejected"] = "approved" if event.verdict == "approve" else "rejected"
            return Answer(verdict, (event.why or NO_REASON,), event.who)
        case (e.PromoteCommand() | e.PinCommand()) as event if event.version == each.version:
            return Answer("approved", (event.why or NO_REASON,), event.who)
        case e.RollbackCommand() as event if each.step == "promotion":
            return Answer("rejected", (event.why or NO_REASON,), event.who)
        case e.ConfigureModelCommand():
            return Answer("withdrawn", ("the policy asks for no approval any more",))
        case _:
            stage = draft.state.stages.get(each.version, "unknown")
            return Answer("withdrawn", (f"it is {stage} now",))


def _event(
    draft: Draft,
    state: ModelState,
    each: Awaited,
    now: Literal["requested", "approved", "rejected", "withdrawn"],
    reasons: tuple[str, ...],
    who: str = "pawl",
) -> e.ApprovalChanged:
    known = state.candidates.get(each.version)
    return e.ApprovalChanged(
        id=draft.id(f"{e.ApprovalChanged.TYPE} {each.version} {each.step} {now}"),
        time=draft.at,
        source=draft.source,
        cause=draft.delivery.event.id,
        model=state.model,
        version=each.version,
        step=each.step,
        state=now,
        run=known.trained.run if known else None,
        report=known.report if known else None,
        reasons=reasons,
        who=who,
        policy=state.digest,
    )
