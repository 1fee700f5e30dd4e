"""From a trained adapter to the queue for a canary, and back when it has to be measured again."""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel

from pawl_shared import events as e
from pawl_shared.ids import derived_id
from pawl_shared.policies.model_policy import Gates, Probes
from pawl_shared.stores.port import Effect
from pawl_validator.domain import queue
from pawl_validator.domain.deployment import RefusedError, Waiting
from pawl_validator.handlers.state import Candidate, Draft, ModelState

EVALUATE = "evaluate"


class EvaluationOrder(BaseModel):
    """Payload of the effect that measures a candidate beside the champion of that moment.

    `again`: it was measured before, beside another champion; the ids of what follows derive from this.
    """

    trained: e.AdapterTrained
    champion: e.DeployedVersion
    gates: Gates = Gates()
    probes: Probes = Probes()
    policy: str | None = None
    again: UUID | None = None


def trained(draft: Draft, event: e.AdapterTrained) -> None:
    """A new adapter: its gates are owed, or it is refused with the reason."""
    now = draft.state.deployment
    known = draft.state.stages.get(event.adapter)
    if now is None:
        refuse(draft, event, ("no base is registered for this model: `pawl up` or RegisterModelCommand first",))
    elif known is not None:
        refuse(draft, event, (f"training gave the weights of a version again that already is {known}",))
    elif event.base != now.champion.base:
        reason = f"it was trained for base {event.base[:12]}, and {now.champion.base[:12]} serves now"
        refuse(draft, event, (reason,))
    else:
        state = draft.state
        draft.update(
            runs={**state.runs, event.adapter: event.run},
            candidates={**state.candidates, event.adapter: Candidate(trained=event)},
        )
        draft.move(event.adapter, "candidate", (f"trained by {event.recipe}",))
        _owe(draft, event, now.champion)


def validated(draft: Draft, event: e.CandidateValidated) -> None:
    """Into the queue; or to the gates again, when the champion that they compared it with serves no more."""
    now = draft.state.deployment
    if now is None or not _decides(draft.state, event.adapter, event.run):
        return
    known = draft.state.candidates.get(event.adapter)
    if known is not None and event.champion not in (None, now.champion.version):
        _measure_again(draft, known.trained)
        return
    draft.move(event.adapter, "validated", ("every gate passed",))
    served = e.DeployedVersion(
        version=event.adapter,
        base=now.champion.base,
        graph=event.graph,
        slot_file=event.slot_file,
        run=event.run,
    )
    waiting = Waiting(served=served, run=event.run, beside=event.champion)
    try:
        draft.update(deployment=queue.enqueue(now, waiting))
    except RefusedError as error:
        draft.move(event.adapter, "retired", (str(error),))
        return
    if known is not None:
        reported = known.model_copy(update={"report": event.report})
        draft.update(candidates={**draft.state.candidates, event.adapter: reported})


def rejected(draft: Draft, event: e.CandidateRejected) -> None:
    """The gates said no."""
    if _decides(draft.state, event.adapter, event.run):
        draft.move(event.adapter, "rejected", event.reasons)


def follow_champion(draft: Draft) -> None:
    """Once another champion serves: what waits in the queue is measured beside it, before anybody meets it."""
    now = draft.state.deployment
    if now is None or not (leaving := queue.outdated(now)):
        return
    draft.update(deployment=queue.without(now, leaving))
    for waiting in leaving:
        version, beside = waiting.served.version, waiting.beside or ""
        reason = f"its gates compared it with {beside[:12]}, and {now.champion.version[:12]} serves now"
        known = draft.state.candidates.get(version)
        if known is None:
            draft.move(version, "retired", (reason,))
        else:
            draft.move(version, "candidate", (reason,))
            _measure_again(draft, known.trained)


def refuse(draft: Draft, event: e.AdapterTrained, reasons: tuple[str, ...]) -> None:
    """Tell everybody that this candidate has no future."""
    draft.events.append(
        e.CandidateRejected(
            id=draft.id(f"{e.CandidateRejected.TYPE} {event.adapter}"),
            time=draft.at,
            source=draft.source,
            cause=draft.delivery.event.id,
            model=event.model,
            run=event.run,
            adapter=event.adapter,
            reasons=reasons,
            policy=draft.state.digest,
        )
    )


def _measure_again(draft: Draft, event: e.AdapterTrained) -> None:
    now = draft.state.deployment
    assert now is not None, "a candidate belongs to a deployment"
    if event.base != now.champion.base:
        reason = f"it was trained for base {event.base[:12]}, and {now.champion.base[:12]} serves now"
        draft.move(event.adapter, "retired", (reason,))
        refuse(draft, event, (reason,))
        return
    _owe(draft, event, now.champion, draft.id(f"{EVALUATE} {event.adapter}"))


def _owe(draft: Draft, event: e.AdapterTrained, champion: e.DeployedVersion, again: UUID | None = None) -> None:
    order = EvaluationOrder(trained=event, champion=champion, again=again)
    if draft.state.configured is not None:
        policy = draft.state.configured.policy
        update = {"gates": policy.gates, "probes": policy.probes, "policy": draft.state.configured.digest}
        order = order.model_copy(update=update)
    draft.effects.append(Effect(again or derived_id(event.id, EVALUATE), EVALUATE, order.model_dump_json()))


def _decides(state: ModelState, adapter: str, run: UUID) -> bool:
    """Whether this verdict is the one that the candidate waits for."""
    return state.runs.get(adapter) == run and state.stages.get(adapter) == "candidate"
