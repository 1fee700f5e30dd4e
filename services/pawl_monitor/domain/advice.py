"""What is the likelier cure of what an alarm tells: training, or something that it cannot do. Rules, with reasons.

Training teaches a model what people say of its answers. It does not help where they said nothing yet, where what they
ask is new and the answers please all the same, or where answers are slow. Going back is never the advice: another
champion begins the reference anew, so what an alarm compares was answered by one version.
"""

from __future__ import annotations

from collections.abc import Sequence

from pawl_monitor.domain.clusters import Cluster
from pawl_monitor.domain.detectors import Direction
from pawl_monitor.domain.explanation import percent
from pawl_monitor.domain.intervals import Estimate, estimate
from pawl_shared.events import Advice

ENOUGH = 20  # rated sessions in the groups that grew; from fewer nobody can say whether the answers please
NEW = 0.05  # share of the reference up to which prompts are taken to be new to the model

TIMES = ("seconds", "first_token_seconds")
LESS_IS_BETTER = {
    "seconds": "answers take less time than before",
    "first_token_seconds": "answers begin sooner than before",
    "failed": "fewer answers fail than before",
    "cut": "fewer answers are cut off than before",
}


def about(statistic: str) -> str:
    """What moved, whichever detector watches it: `seconds` of `seconds above 1.2 where language=de`."""
    return statistic.partition(" ")[0]


def advise(statistic: str, direction: Direction, clusters: Sequence[Cluster]) -> Advice:
    """The advice that goes with an alarm."""
    what = about(statistic)
    if direction == "rise" and what == "approval":
        return Advice(cure="none", sentence="Nothing is to be mended: people like the answers more than before.")
    if direction == "drop" and what in LESS_IS_BETTER:
        return Advice(cure="none", sentence=f"Nothing is to be mended: {LESS_IS_BETTER[what]}.")
    if what in TIMES:
        return Advice(
            cure="infrastructure",
            sentence="Answers take longer, which no training mends: look at load, hardware and the replicas.",
        )
    if what == "failed":
        return Advice(cure="infrastructure", sentence="Answers fail in the engine: its log and the replicas say why.")
    if what == "approval":
        return _approval(clusters)
    if what == "cut":
        return Advice(
            cure="prompt",
            sentence="Answers end at their limit: a higher `max_tokens`, or a prompt that asks for short ones, is the "
            "likelier cure. Cut answers teach no model to end.",
        )
    return _unlabelled(clusters)


def _approval(clusters: Sequence[Cluster]) -> Advice:
    judged = [c for c in clusters if c.approval_before and c.approval_after]
    below = [c for c in judged if _point(c.approval_after) < _point(c.approval_before)]
    grown = [c for c in clusters if c.grew]
    if grown and judged and not any(c.fell for c in judged):
        share = sum(c.before.point for c in grown)
        return Advice(
            cure="prompt",
            sentence="People ask other things, and within no group of prompts are the answers liked less than before: "
            f"the groups that grew had {share:.0%} of the sessions. Prompts or retrieval for them are the likelier "
            "cure; training helps once there is feedback on them.",
        )
    fell = "Approval fell; in which prompts is not known yet."
    if below:
        as_before = any(not c.grew for c in below)
        where = "for prompts as they were before" if as_before else "in the groups of prompts that grew"
        fell = f"Approval fell {'in every group of prompts' if len(below) == len(clusters) else where}."
    return Advice(cure="train", sentence=f"{fell} Training on what people say now is the likelier cure.")


def _unlabelled(clusters: Sequence[Cluster]) -> Advice:
    """Prompts or answers changed; whether that is bad only people can say."""
    grown = [c for c in clusters if c.grew] or list(clusters)
    after = _pooled([c.approval_after for c in grown])
    before = _pooled([c.approval_before for c in clusters])
    rated = after.n if after else 0
    if after is None or before is None or rated < ENOUGH:
        return Advice(
            cure="review",
            sentence=f"Whether the answers please there, {_rated(rated)} cannot tell: judge a sample of them first "
            "(`pawl review list`).",
        )
    if after.high < before.low:
        return Advice(
            cure="train",
            sentence=f"The answers please less there: {percent(after)}, where it was {percent(before)}. Training on "
            "feedback about them is the likelier cure.",
        )
    share = sum(c.before.point for c in clusters if c.grew)
    if any(c.grew for c in clusters) and share <= NEW:
        return Advice(
            cure="prompt",
            sentence=f"What people ask now was {share:.0%} of this version's reference, so there was hardly any to "
            f"train on, and the answers please as before ({percent(after)}): if they lack knowledge, a prompt or "
            "retrieval change is the likelier cure.",
        )
    return Advice(cure="none", sentence=f"The answers please as before: {percent(after)}. Nothing needs a cure now.")


def _rated(n: int) -> str:
    return f"{n} rated session{'' if n == 1 else 's'}"


def _pooled(rates: Sequence[Estimate | None]) -> Estimate | None:
    known = [rate for rate in rates if rate is not None]
    return estimate(sum(rate.point * rate.n for rate in known), sum(rate.n for rate in known))


def _point(rate: Estimate | None) -> float:
    return 0.0 if rate is None else rate.point
