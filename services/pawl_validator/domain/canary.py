"""Is the challenger better than the champion, or not worse?  Every session may be looked at: the tests are valid at any
time.

    state, decision = canary.step(policy, state, Observation(challenger=True, reward=1.0, time=now))

Rated sessions go into the two tests of blocks.py: one whose evidence promotes, against "the challenger's approval is at
most the champion's, less `margin`", and one whose evidence rolls back, against "at least that". All sessions go into
the guardrails. The challenger's share goes up in steps while nothing speaks against it; bets are those of the new
share's blocks, and the evidence is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import ceil, floor
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from pawl_validator.domain import guardrails
from pawl_validator.domain import statistics as st
from pawl_validator.domain.blocks import Pair, Side, Sides, block_of, evidence, take
from pawl_validator.domain.guardrails import Guards, Tripped

Action = Literal["continue", "step", "promote", "rollback", "timeout"]

CAUTION = 2.0  # with more evidence of harm than this the share does not go up,
LEAST = 10  # nor before so many rated sessions of the challenger
_ROUNDING = 1e-9  # a sum of means may miss a whole number by as much


class CanaryPolicy(BaseModel):
    """Levels and limits of one canary, fixed while it runs; and who must agree, which is valid at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(0.1, gt=0, lt=1, description="part of the sessions that the challenger answers at first")
    steps: tuple[float, ...] = Field((0.25, 0.5), description="shares that follow, while nothing speaks against it")
    step_sessions: int = Field(200, gt=0, description="rated sessions of each step")
    margin: float = Field(
        0.0, ge=0, lt=0.5, description="promote what is not worse by this much; 0: only what is better"
    )
    min_sessions: int = Field(0, ge=0, description="rated sessions before which nothing is promoted")
    alpha_promote: float = Field(0.01, gt=0, lt=1, description="bound on P(promote | the challenger is not better)")
    alpha_rollback: float = Field(0.05, gt=0, lt=1, description="bound on P(roll back | the challenger is not worse)")
    alpha_series: float = Field(
        0.05, gt=0, lt=1, description="bound on the share of promotions that brought nothing, over all canaries"
    )
    alpha_guard: float = Field(0.01, gt=0, lt=1, description="bound on P(a guardrail trips | none is hurt)")
    guard_slack: float = Field(0.05, ge=0, lt=1, description="how much more of each kind of bad answer is no harm")
    limit_sessions: int = Field(20_000, gt=0, description="rated sessions after which an undecided canary ends")
    limit_hours: float = Field(336.0, gt=0, description="hours of event time after which an undecided canary ends")
    approval: Literal["none", "canary", "promotion", "both"] = Field(
        "none", description="before what a person must approve: its canary, its promotion"
    )

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares, in order; steps that are none are left out."""
        return (self.share, *sorted(step for step in self.steps if step > self.share))

    @property
    def sides(self) -> Sides:
        """The two tests: of benefit and of harm."""
        return Sides(Side(-self.margin, 1 / self.alpha_promote), Side(-self.margin, 1 / self.alpha_rollback))


class Observation(NamedTuple):
    """One session of the canary. `reward` in [0, 1], or None when nobody rated it."""

    challenger: bool
    reward: float | None
    time: datetime
    statistics: Mapping[str, float] = {}
    prompt: str = ""  # its sketch, see SessionObserved


@dataclass(frozen=True, slots=True)
class Arm:
    """What was seen of one arm."""

    sessions: int = 0
    rated: int = 0
    reward: float = 0.0

    @property
    def rate(self) -> float | None:
        return self.reward / self.rated if self.rated else None

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95 % limits of the rate (Clopper and Pearson, Biometrika 1934); 0 and 1 when nobody rated.

        Rewards between 0 and 1 vary less than the binomial, so rounding their sum outwards keeps the level.
        """
        fewest, most = floor(self.reward + _ROUNDING), ceil(self.reward - _ROUNDING)
        return st.lower_rate(fewest, self.rated, 0.025), st.upper_rate(most, self.rated, 0.025)

    @property
    def rated_share(self) -> float | None:
        return self.rated / self.sessions if self.sessions else None

    def add(self, reward: float | None) -> Arm:
        if reward is None:
            return Arm(self.sessions + 1, self.rated, self.reward)
        return Arm(self.sessions + 1, self.rated + 1, self.reward + reward)


@dataclass(frozen=True, slots=True)
class CanaryState:
    """All that a canary knows. `stage`: how often the share went up; `stage_from`: rated sessions before that."""

    champion: Arm = field(default_factory=Arm)
    challenger: Arm = field(default_factory=Arm)
    pair: Pair = field(default_factory=Pair)
    guards: Guards = field(default_factory=Guards)
    started: datetime | None = None
    stage: int = 0
    stage_from: int = 0

    @property
    def rated(self) -> int:
        """Rated sessions of both arms."""
        return self.champion.rated + self.challenger.rated

    @property
    def blocks(self) -> int:
        """Blocks that are full."""
        return self.pair.blocks


class Decision(NamedTuple):
    """What to do and why; `evidence_*` are e-values, to be compared with `threshold_*` = 1 / alpha."""

    action: Action
    verdict: str
    evidence_better: float
    evidence_worse: float
    threshold_better: float
    threshold_worse: float
    champion: Arm
    challenger: Arm
    blocks: int
    share: float
    guard: Tripped | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """What decided, and what was seen, in sentences."""
        arms = _arm_sentence("challenger", self.challenger), _arm_sentence("champion", self.champion)
        if self.guard is None or self.action == "rollback":
            return self.verdict, *arms
        near = self.guard.evidence / self.guard.threshold
        return self.verdict, *arms, f"guardrails: at most {near:.1%} of what trips one ({self.guard.name})"


def step(policy: CanaryPolicy, state: CanaryState, seen: Observation) -> tuple[CanaryState, Decision]:
    """Take one session. Raises ValueError for a reward that is none."""
    pair, reward = state.pair, seen.reward
    block = block_of(policy.shares[state.stage])
    if reward is not None:
        if not 0 <= reward <= 1:
            raise ValueError(f"a session's reward must lie in [0, 1], not {reward}")
        pair = take(policy.sides, pair, block, seen.challenger, reward)
    guards = state.guards
    if seen.statistics or seen.prompt:
        guards = guardrails.watch(
            guards, policy.guard_slack, policy.alpha_guard, block, seen.challenger, reward, seen.statistics, seen.prompt
        )
    champion = state.champion if seen.challenger else state.champion.add(reward)
    challenger = state.challenger.add(reward) if seen.challenger else state.challenger
    started = state.started or seen.time
    state = CanaryState(champion, challenger, pair, guards, started, state.stage, state.stage_from)
    decision = decide(policy, state, seen.time)
    if decision.action == "step":
        state = replace(state, stage=state.stage + 1, stage_from=state.rated)
    return state, decision


def decide(policy: CanaryPolicy, state: CanaryState, now: datetime) -> Decision:
    """What the evidence says at `now`; harm is looked at before benefit."""
    better, worse = evidence(state.pair.above), evidence(state.pair.below)
    guard = guardrails.worst(state.guards, policy.alpha_guard)
    action, verdict = _verdict(policy, state, now, better, worse, guard)
    share = policy.shares[state.stage + (action == "step")]
    return Decision(
        action, verdict, better, worse, 1 / policy.alpha_promote, 1 / policy.alpha_rollback, state.champion,
        state.challenger, state.blocks, share, guard,
    )  # fmt: skip


def _verdict(
    policy: CanaryPolicy, state: CanaryState, now: datetime, better: float, worse: float, guard: Tripped | None
) -> tuple[Action, str]:
    need_better, need_worse = 1 / policy.alpha_promote, 1 / policy.alpha_rollback
    less = f" by more than {policy.margin:.1%}" if policy.margin else ""
    if worse >= need_worse:
        return (
            "rollback",
            f"worse{less}: evidence {worse:.3g} reached {need_worse:.3g} (alpha {policy.alpha_rollback:g})",
        )
    if guard is not None and guard.evidence >= guard.threshold:
        return "rollback", guard.sentence
    rated = state.rated
    if better >= need_better and rated >= policy.min_sessions:
        word = f"not worse{less}" if policy.margin else "better"
        return "promote", f"{word}: evidence {better:.3g} reached {need_better:.3g} (alpha {policy.alpha_promote:.3g})"
    hours = (now - state.started).total_seconds() / 3600 if state.started else 0.0
    if rated >= policy.limit_sessions:
        return "timeout", f"undecided after {rated} rated sessions (limit {policy.limit_sessions})"
    if hours >= policy.limit_hours:
        return "timeout", f"undecided after {hours:.0f} hours (limit {policy.limit_hours:g})"
    shares = policy.shares
    tried = rated - state.stage_from >= policy.step_sessions and state.challenger.rated >= LEAST
    if state.stage + 1 < len(shares) and tried and worse < CAUTION:
        return "step", f"nothing speaks against it after {rated} rated sessions: {shares[state.stage + 1]:.0%}"
    return "continue", f"evidence better {better:.3g} of {need_better:.3g}, worse {worse:.3g} of {need_worse:.3g}"


def _arm_sentence(name: str, arm: Arm) -> str:
    if arm.rate is None:
        return f"{name}: {arm.sessions} sessions, none rated"
    return f"{name}: approval {arm.rate:.1%} in {arm.rated} rated of {arm.sessions} sessions"
