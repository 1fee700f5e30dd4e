"""What a person must agree to before it happens, where the policy says so: a version's canary, its promotion, or both.

A canary whose evidence has earned the promotion goes on while it waits: its guardrails act, and so does evidence of
harm; its limits do not, since it was decided in time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from pawl_validator.domain import experiment
from pawl_validator.domain.deployment import NO_REASON, Approval, Change, Deployment, RefusedError, withdraw
from pawl_validator.domain.verdict import promote_earned

Step = Literal["canary", "promotion"]
Rule = Literal["none", "canary", "promotion", "both"]


class Awaited(NamedTuple):
    """A version, and what it waits to be allowed."""

    version: str
    step: Step


def needs(rule: Rule, step: Step) -> bool:
    """Whether a person must approve this step."""
    return rule in (step, "both")


def awaited(now: Deployment, rule: Rule) -> Iterator[Awaited]:
    """All that waits for a person."""
    for waiting in now.queue:
        if waiting.approval is None and needs(rule, "canary"):
            yield Awaited(waiting.served.version, "canary")
    if now.challenger is not None and now.earned is not None and needs(rule, "promotion"):
        yield Awaited(now.challenger.version, "promotion")


def approve(now: Deployment, rule: Rule, version: str, who: str, why: str) -> Change | Deployment:
    """A person's yes: a promotion, or a queued candidate that may begin its canary. Raises RefusedError."""
    approval = Approval(who=who, why=why)
    if Awaited(version, "promotion") in awaited(now, rule):
        return promote_earned(now, approval)
    if Awaited(version, "canary") not in awaited(now, rule):
        raise RefusedError(f"{version[:12]} waits for nobody's approval{_standing(now, version)}")
    queue = tuple(
        each.model_copy(update={"approval": approval}) if each.served.version == version else each for each in now.queue
    )
    return now.model_copy(update={"queue": queue})


def reject(now: Deployment, version: str, who: str, why: str) -> Change | Deployment:
    """A person's no, to the challenger, or to a candidate in the queue, which ends an experiment with it. Raises
    RefusedError.
    """
    if now.challenger is not None and now.challenger.version == version:
        return withdraw(now, now.challenger, (f"rejected by {who}: {why or NO_REASON}",), who, "rejected", {})
    queue = tuple(each for each in now.queue if each.served.version != version)
    if len(queue) == len(now.queue):
        raise RefusedError(
            f"{version[:12]} is neither on trial nor in the queue{_standing(now, version)}: nothing to reject"
        )
    over = experiment.without(now, version, who, why)
    if over is None:
        return now.model_copy(update={"queue": queue})
    return over.model_copy(update={"deployment": over.deployment.model_copy(update={"queue": queue})})


def _standing(now: Deployment, version: str) -> str:
    if version == now.champion.version:
        return ", it is the champion already"
    if now.challenger is not None and version == now.challenger.version:
        if now.earned is not None:
            return ": its promotion is earned, and follows once the loop goes on (`pawl resume`)"
        return ": it is on trial, and the evidence has not decided yet (`pawl promote` does not wait for it)"
    return ""
