"""Validated candidates that wait for their canary: one at a time, in the order in which they passed the gates.

A canary begins only beside the champion that the gates compared its candidate with: once another one serves, those in
the queue are measured again.
"""

from __future__ import annotations

from uuid import UUID

from pawl_validator.domain.deployment import Change, Deployment, RefusedError, Waiting, revise


def enqueue(now: Deployment, candidate: Waiting) -> Deployment:
    """Put a validated candidate in the queue; one that was made for another base raises RefusedError."""
    if (candidate.served.base, candidate.served.graph) != (now.champion.base, now.champion.graph):
        raise RefusedError(f"{candidate.served.version[:12]} was made for another base than the one that serves now")
    return now.model_copy(update={"queue": (*now.queue, candidate)})


def next_up(now: Deployment, approval: bool) -> Waiting | None:
    """Whose canary is to begin; None: there is none, one is running, or the model is held.

    Args:
        approval: whether only what a person has approved may begin; the others wait, and hold up nobody.
    """
    held = now.paused or now.pinned is not None or now.experiment is not None
    if held or now.challenger is not None:
        return None
    return next((each for each in now.queue if each.approval is not None or not approval), None)


def start(now: Deployment, waiting: Waiting, canary: UUID, share: float) -> Change:
    """Make one of the queue the challenger."""
    served, approval = waiting.served, waiting.approval
    queue = tuple(each for each in now.queue if each.served.version != served.version)
    reason = f"{served.version[:12]} passed every gate and answers {share:.0%} of the sessions"
    return Change(
        deployment=revise(now, challenger=served, share=share, canary=canary, queue=queue),
        kind="canary",
        reasons=(reason, *((approval.sentence,) if approval else ())),
        who=approval.who if approval else "pawl",
        numbers={"share": share},
        stages=((served.version, "canary"),),
    )


def outdated(now: Deployment) -> tuple[Waiting, ...]:
    """Those in the queue whose gates compared them with another champion than the one that serves now."""
    return tuple(each for each in now.queue if each.beside not in (None, now.champion.version))


def without(now: Deployment, leaving: tuple[Waiting, ...]) -> Deployment:
    """Without these in the queue."""
    return now.model_copy(update={"queue": tuple(each for each in now.queue if each not in leaving)})
