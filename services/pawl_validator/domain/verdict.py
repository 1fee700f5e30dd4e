"""What a canary's evidence does to a deployment: the next share, the promotion, at once or once it is approved or the
loop goes on, or the way back."""

from __future__ import annotations

from pawl_shared.events import Stage
from pawl_validator.domain.canary import Decision
from pawl_validator.domain.deployment import Approval, Change, Deployment, Earned, revise, take_over, withdraw


def conclude(now: Deployment, decision: Decision, approval: bool = False) -> Change | None:
    """What the evidence decided; None when it says go on, or when what it says has to wait (`earn`).

    Args:
        approval: whether a person has to agree to a promotion. What was earned meanwhile counts once nobody has to, and
            the loop is not paused.
    """
    numbers = decision_numbers(decision)
    if now.challenger is None:
        return None
    if now.earned is not None and decision.action != "rollback":
        if not approval and not now.paused:
            return promote_earned(now, None)
        if decision.action != "step":
            return None
    if decision.action == "continue" or (decision.action == "promote" and (now.paused or approval)):
        return None
    if decision.action == "step":
        changed = revise(now, share=decision.share)
        return Change(deployment=changed, kind="step", reasons=decision.reasons, numbers=numbers)
    if decision.action == "promote":
        return take_over(now, now.challenger, decision.reasons, "pawl", numbers)
    rejected: Stage = "rejected" if decision.action == "rollback" else "retired"
    return withdraw(now, now.challenger, decision.reasons, "pawl", rejected, numbers)


def earn(now: Deployment, decision: Decision) -> Deployment:
    """Remember that the evidence speaks for the challenger while its promotion has to wait: for a person's approval, or
    for the loop to go on. The first time counts, as no later look takes it back."""
    if decision.action != "promote" or now.challenger is None or now.earned is not None:
        return now
    return now.model_copy(update={"earned": Earned(reasons=decision.reasons, numbers=decision_numbers(decision))})


def promote_earned(now: Deployment, approval: Approval | None) -> Change:
    """The promotion that the evidence has earned; none: nobody had to approve it."""
    assert now.challenger is not None and now.earned is not None, "only a challenger earns a promotion"  # noqa: PT018
    reasons = (*now.earned.reasons, *((approval.sentence,) if approval else ()))
    return take_over(now, now.challenger, reasons, approval.who if approval else "pawl", now.earned.numbers)


def decision_numbers(decision: Decision) -> dict[str, float]:
    """The decision's figures, flat, for events."""
    numbers = {
        "evidence_better": decision.evidence_better,
        "threshold_better": decision.threshold_better,
        "evidence_worse": decision.evidence_worse,
        "threshold_worse": decision.threshold_worse,
        "blocks": float(decision.blocks),
        "share": decision.share,
    }
    if decision.guard is not None:
        numbers |= {"guard_evidence": decision.guard.evidence, "guard_threshold": decision.guard.threshold}
    for name, arm in (("champion", decision.champion), ("challenger", decision.challenger)):
        numbers |= {f"{name}_sessions": float(arm.sessions), f"{name}_rated": float(arm.rated)}
        if arm.rate is not None:
            numbers[f"{name}_approval"] = arm.rate
        if arm.rated_share is not None:
            numbers[f"{name}_rated_share"] = arm.rated_share
    return numbers
