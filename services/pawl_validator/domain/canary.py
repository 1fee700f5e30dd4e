"""Is the challenger better than the champion?  Every rated session may be looked at: the test is valid at any time.

    state, decision = canary.step(policy, state, Observation(challenger=True, reward=1.0, time=now))

Rated sessions are taken in fixed blocks in arrival order, `policy.block` = (k of the champion, m of the challenger);
the later ones of the arm that is ahead wait. So the proportions of the arms in a block are fixed whatever share of each
arm's answers gets rated; one by one, a challenger rated twice as often gave 81 % false rollbacks (blocks: <= 4.2 %).

E-value of a block, rates (a, b) of champion and challenger, w = m / (k + m) the challenger's part of the block:

    S = prod_i p_alternative(y_i | arm_i) / p_null(y_i | arm_i),    null: a0 = b0 = (1 - w) a* + w b*

(a*, b*) is fixed before the block from the blocks before it; (a0, b0) is its reverse information projection on {a = b},
hence E S <= 1 for every b <= a (bets on "better") or every b >= a (bets on "worse"), whatever came before [TLG; TG].
One process for each gap b* - a*, averaged with fixed weights; by Ville P(average ever >= 1 / alpha) <= alpha.
S is affine in each y, so a session's mean reward in [0, 1] is as good as a thumb.

[TLG] Turner, Ly, Gruenwald, "Generic E-variables for exact sequential k-sample tests", JSPI 2024 (arXiv 2106.02693).
[TG]  Turner, Gruenwald, "Exact anytime-valid confidence intervals for contingency tables", 2023 (arXiv 2203.09785).
"""

from __future__ import annotations

from datetime import datetime
from math import exp, log, prod
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pawl_shared.model_policy import Canary

Action = Literal["continue", "promote", "rollback", "timeout"]

# Gaps that are bet on, in approval, with their weights. The first five have the weight of what is usual; the last two
# cost ln(1/0.9) = 0.1 of the 4.6 that are needed and shorten .21 -> .75 by a quarter.
GAPS = (0.02, 0.04, 0.08, 0.14, 0.22, 0.36, 0.54)
WEIGHTS = (0.18, 0.18, 0.18, 0.18, 0.18, 0.05, 0.05)

MAX_BLOCK = 99  # a share below 1 % is tested in blocks of 99 : 1


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CanaryPolicy(Canary):
    """One canary's levels and limits, with what nobody has to choose."""

    prior_rate: float = Field(0.5, ge=0, le=1, description="guess of the common approval; moves speed, not validity")
    prior_weight: float = Field(20.0, gt=0, description="sessions that this guess is worth")

    @property
    def block(self) -> tuple[int, int]:
        """(champion sessions, challenger sessions) of one block: k : 1, or 1 : m for a share above one half."""
        odds = (1 - self.share) / self.share
        return (min(round(odds), MAX_BLOCK), 1) if odds >= 1 else (1, min(round(1 / odds), MAX_BLOCK))


class Observation(Frozen):
    """One session of the canary. `reward` in [0, 1], or None when nobody rated it."""

    challenger: bool
    reward: float | None = Field(ge=0, le=1)
    time: datetime


class Arm(Frozen):
    """What was seen of one arm."""

    sessions: int = 0
    rated: int = 0
    reward: float = 0.0

    @property
    def rate(self) -> float | None:
        return self.reward / self.rated if self.rated else None

    @property
    def rated_share(self) -> float | None:
        return self.rated / self.sessions if self.sessions else None

    def add(self, reward: float | None) -> Arm:
        if reward is None:
            return Arm(sessions=self.sessions + 1, rated=self.rated, reward=self.reward)
        return Arm(sessions=self.sessions + 1, rated=self.rated + 1, reward=self.reward + reward)


class CanaryState(Frozen):
    """All that a canary knows; `better` and `worse` are the log e-processes, one for each gap."""

    champion: Arm = Arm()
    challenger: Arm = Arm()
    waiting_champion: tuple[float, ...] = ()
    waiting_challenger: tuple[float, ...] = ()
    blocks: int = 0
    spent_reward: float = 0.0  # reward of the sessions inside finished blocks: only these may inform the next bets
    better: tuple[float, ...] = (0.0,) * len(GAPS)
    worse: tuple[float, ...] = (0.0,) * len(GAPS)
    started: datetime | None = None


class Decision(Frozen):
    """What to do and why; `evidence_*` are e-values, to be compared with `threshold_*` = 1 / alpha."""

    action: Action
    reasons: tuple[str, ...]
    evidence_better: float
    evidence_worse: float
    threshold_better: float
    threshold_worse: float
    champion: Arm
    challenger: Arm
    blocks: int


def step(policy: CanaryPolicy, state: CanaryState, seen: Observation) -> tuple[CanaryState, Decision]:
    """Take one session. Evidence moves only when a block is full, so all bets inside a block are fixed before it."""
    waiting_champion, waiting_challenger = state.waiting_champion, state.waiting_challenger
    if seen.reward is not None and seen.challenger:
        waiting_challenger = (*waiting_challenger, seen.reward)
    elif seen.reward is not None:
        waiting_champion = (*waiting_champion, seen.reward)
    state = state.model_copy(
        update={
            "champion": state.champion if seen.challenger else state.champion.add(seen.reward),
            "challenger": state.challenger.add(seen.reward) if seen.challenger else state.challenger,
            "waiting_champion": waiting_champion,
            "waiting_challenger": waiting_challenger,
            "started": state.started or seen.time,
        }
    )
    k, m = policy.block
    if len(waiting_champion) >= k and len(waiting_challenger) >= m:
        state = _spend(policy, state, k, m)
    return state, decide(policy, state, seen.time)


def _spend(policy: CanaryPolicy, state: CanaryState, k: int, m: int) -> CanaryState:
    champion, challenger = state.waiting_champion[:k], state.waiting_challenger[:m]
    seen = state.blocks * (k + m)
    pooled = (policy.prior_rate * policy.prior_weight + state.spent_reward) / (policy.prior_weight + seen)
    part = m / (k + m)
    better = tuple(
        v + _block_value(pooled, part, gap, champion, challenger) for v, gap in zip(state.better, GAPS, strict=True)
    )
    worse = tuple(
        v + _block_value(pooled, part, -gap, champion, challenger) for v, gap in zip(state.worse, GAPS, strict=True)
    )
    return state.model_copy(
        update={
            "waiting_champion": state.waiting_champion[k:],
            "waiting_challenger": state.waiting_challenger[m:],
            "blocks": state.blocks + 1,
            "spent_reward": state.spent_reward + sum(champion) + sum(challenger),
            "better": better,
            "worse": worse,
        }
    )


def _block_value(
    pooled: float, part: float, gap: float, champion: tuple[float, ...], challenger: tuple[float, ...]
) -> float:
    """Log e-value of one block for the alternative b - a = gap around the pooled rate."""
    a = min(max(pooled - part * gap, 0.02), 0.98)
    b = min(max(a + gap, 0.01), 0.99)
    null = (1 - part) * a + part * b
    return _log_ratio(a, null, champion) + _log_ratio(b, null, challenger)


def _log_ratio(rate: float, null: float, rewards: tuple[float, ...]) -> float:
    good, bad = rate / null, (1 - rate) / (1 - null)
    return log(prod([y * good + (1 - y) * bad for y in rewards]))


def decide(policy: CanaryPolicy, state: CanaryState, now: datetime) -> Decision:
    """What the evidence says at `now`; harm is looked at before benefit."""
    better, worse = evidence(state.better), evidence(state.worse)
    need_better, need_worse = 1 / policy.alpha_promote, 1 / policy.alpha_rollback
    rated = state.champion.rated + state.challenger.rated
    hours = (now - state.started).total_seconds() / 3600 if state.started else 0.0
    if worse >= need_worse:
        action: Action = "rollback"
        verdict = f"worse: evidence {worse:.3g} reached {need_worse:.3g} (alpha {policy.alpha_rollback:g})"
    elif better >= need_better:
        action = "promote"
        verdict = f"better: evidence {better:.3g} reached {need_better:.3g} (alpha {policy.alpha_promote:g})"
    elif rated >= policy.limit_sessions:
        action, verdict = "timeout", f"undecided after {rated} rated sessions (limit {policy.limit_sessions})"
    elif hours >= policy.limit_hours:
        action, verdict = "timeout", f"undecided after {hours:.0f} hours (limit {policy.limit_hours:g})"
    else:
        action = "continue"
        verdict = f"evidence better {better:.3g} of {need_better:.3g}, worse {worse:.3g} of {need_worse:.3g}"
    return Decision(
        action=action,
        reasons=(verdict, _arm_sentence("challenger", state.challenger), _arm_sentence("champion", state.champion)),
        evidence_better=better,
        evidence_worse=worse,
        threshold_better=need_better,
        threshold_worse=need_worse,
        champion=state.champion,
        challenger=state.challenger,
        blocks=state.blocks,
    )


def evidence(log_values: tuple[float, ...]) -> float:
    """Weighted mean of the e-processes; capped at e^700 so that it stays a finite JSON number."""
    return sum(w * exp(min(v, 700.0)) for w, v in zip(WEIGHTS, log_values, strict=True))


def _arm_sentence(name: str, arm: Arm) -> str:
    if arm.rate is None:
        return f"{name}: {arm.sessions} sessions, none rated"
    return f"{name}: approval {arm.rate:.1%} in {arm.rated} rated of {arm.sessions} sessions"
