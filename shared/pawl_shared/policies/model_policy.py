"""What is wanted of a model, and by what it is decided about it: the content of its model.yaml.

A policy travels on pawl.commands with all of its values, defaults included (ConfigureModelCommand), so that a decision
can be made again under the policy that was valid at its place in the log. Its digest names it in what was decided.
Fields may be added, with defaults; a file is checked for keys that are not known by who reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from pawl_shared.policies.reward_policy import RewardPolicy
from pawl_shared.policies.values import DEFAULT_MODEL, Duration, Level, Section, Share, Text
from pawl_shared.policies.watch_policy import Name, Watch


class Approval(Section):
    """The detector of approval: what people say."""

    reference_sessions: int = Field(
        default=250, ge=20, description="rated sessions that the detector learns from before it can raise an alarm"
    )
    tolerance: float = Field(
        default=0.0, ge=0, lt=0.5, description="changes of approval up to this are none, such as those of a daily cycle"
    )


class Unrated(Section):
    """A detector that needs no feedback."""

    watch: bool = Field(default=True, description="whether its alarms are wanted")


class Detectors(Section):
    """What watches the champion. A change here begins a new reference, since levels must not follow from data."""

    alpha: Level = Field(
        default=1e-5, description="false alarms a stable session that are accepted, of all detectors together"
    )
    delta: Level = Field(
        default=0.1, description="probability that any reference of approval is ever wrong, in the life of the model"
    )
    approval: Approval = Approval()
    traffic: Unrated = Field(default=Unrated(), description="what people ask")
    output: Unrated = Field(default=Unrated(), description="what the model answers")
    more: Mapping[Name, Watch] = Field(
        default_factory=dict, max_length=20, description="further detectors, by names of your own"
    )

    @model_validator(mode="after")
    def _names_are_free(self) -> Detectors:
        for name in self.more:
            if name.startswith(("approval", "traffic", "output")):
                raise ValueError(f"more.{name}: names that begin with approval, traffic or output are taken")
        return self

    def __hash__(self) -> int:
        parts = self.alpha, self.delta, self.approval, self.traffic, self.output
        return hash((*parts, *self.more.items()))


class Budget(Section):
    """What runs may cost in seven days."""

    runs_per_week: int | None = Field(default=None, ge=1, description="most runs; null: as many as there are reasons")
    gpu_seconds_per_week: float | None = Field(
        default=None, gt=0, description="most seconds of training on a GPU; null: no limit"
    )


class Triggers(Section):
    """What asks for a run, and what must hold before it is begun.

    The counts are what one run on SmolLM2-135M was measured to need: 12 corrections, or 30 liked and 30 disliked
    answers, took approval on unseen prompts above 87 %. Those held out are what the validator's gate `learned` asks
    for: with fewer it would refuse every candidate.
    """

    drift: bool = Field(default=True, description="whether an alarm, that approval fell, asks for a run")
    new_pairs: int | None = Field(
        default=None,
        ge=1,
        description="new corrections or comparisons since the last run that ask for one; null: none",
    )
    every: Duration | None = Field(default=None, description="time after the last run that asks for one; null: none")
    min_pairs: int = Field(default=12, ge=1, description="corrections or comparisons (to train on) that are enough")
    min_up: int = Field(default=30, ge=1, description="liked answers that are enough, with the disliked ones")
    min_down: int = Field(default=30, ge=1, description="disliked answers that are enough, with the liked ones")
    min_heldout_pairs: int = Field(
        default=8, ge=1, description="held-out corrections or comparisons that the validator needs to judge by"
    )
    min_heldout_each: int = Field(
        default=10, ge=1, description="held-out liked and disliked answers, each, that the validator needs otherwise"
    )
    heldout_share: Share = Field(default=0.25, description="share of prompts that is never trained on")
    cooldown: Duration = Field(default=timedelta(minutes=10), description="least time between two runs")
    budget: Budget = Budget()
    more_data: float = Field(
        default=1.5, ge=1, le=1000, description="after a refused candidate: times as many rows as it was trained on"
    )
    max_rejections: int = Field(
        default=3, ge=1, description="refused candidates in a row after which the loop pauses itself"
    )
    weigh_every: Duration = Field(
        default=timedelta(seconds=5), description="how often feedback is counted while something asks for a run"
    )


class Gates(Section):
    """What a candidate must pass. All bounds are one-sided at `alpha`."""

    alpha: float = Field(default=0.05, ge=1e-12, lt=0.5, description="error level of each gate's confidence bound")
    min_pairs: int = Field(default=8, ge=5, description="held-out pairs (or demonstrations) needed to judge by them")
    min_each_label: int = Field(default=10, ge=5, description="held-out ups and downs needed, each, to judge by thumbs")
    max_perplexity_rise: float = Field(default=0.03, gt=0, description="bound on the rise of perplexity over the base")
    min_texts: int = Field(default=80, ge=20, description="neutral texts needed for retention")
    # A sound adapter for short answers gave 4 of 96 that were too short; among 64 prompts, 0.2 lets 7 pass (a false
    # alarm in 0.5 % of such adapters), and a collapse, which is most of them, is always seen.
    max_degeneration_rise: float = Field(
        default=0.2, gt=0, description="bound on the rise of each kind of bad answer, a fraction"
    )
    min_prompts: int = Field(default=48, ge=20, description="probe prompts needed for degeneration")
    max_parity_kl: float = Field(
        default=0.02, gt=0, description="bound on the mean KL of the served graph against torch, nats"
    )
    min_parity_top1: float = Field(default=0.93, gt=0, le=1, description="least agreement of the most probable token")
    min_parity_positions: int = Field(default=200, ge=20, description="token positions needed for parity")


class Probes(Section):
    """How much is measured: the time of an evaluation is set here, and with it the smallest harm that can be seen."""

    heldout: int = Field(
        default=24, ge=8, description="held-out pairs, and liked and disliked answers, scored at most, each"
    )
    neutral_texts: int = Field(default=107, ge=20, description="neutral texts scored for retention")
    prompts: int = Field(default=64, ge=20, description="probe prompts that each model answers, of 207; fewer see less")
    answer_tokens: int = Field(default=40, ge=8, description="tokens that a probe answer may have")
    parity_prompts: int = Field(
        default=12, ge=1, description="conversations on which the served graph is compared with torch"
    )


class Canary(Section):
    """Levels and limits of one canary, fixed while it runs; and who must agree, which is valid at once."""

    share: Share = Field(default=0.1, description="part of the sessions that the challenger answers at first")
    steps: tuple[Share, ...] = Field(
        default=(0.25, 0.5), max_length=20, description="shares that follow, while nothing speaks against it"
    )
    step_sessions: int = Field(default=200, gt=0, description="rated sessions of each step")
    margin: float = Field(
        default=0.0, ge=0, lt=0.5, description="promote what is not worse by this much; 0: only what is better"
    )
    min_sessions: int = Field(default=0, ge=0, description="rated sessions before which nothing is promoted")
    alpha_promote: Level = Field(default=0.01, description="bound on P(promote | the challenger is not better)")
    alpha_rollback: Level = Field(default=0.05, description="bound on P(roll back | the challenger is not worse)")
    alpha_series: Level = Field(
        default=0.05, description="bound on the share of promotions that brought nothing, over all canaries"
    )
    alpha_guard: Level = Field(default=0.01, description="bound on P(a guardrail trips | none is hurt)")
    guard_slack: float = Field(
        default=0.05, ge=0, lt=1, description="how much more of each kind of bad answer is no harm"
    )
    limit_sessions: int = Field(default=20_000, gt=0, description="rated sessions after which an undecided canary ends")
    limit_hours: float = Field(
        default=336.0, gt=0, le=87_600, description="hours of event time after which an undecided canary ends"
    )
    approval: Literal["none", "canary", "promotion", "both"] = Field(
        default="none", description="before what a person must approve (`pawl approve`): its canary, its promotion"
    )


class ModelPolicy(Section):
    """All of a model.yaml."""

    model: str = Field(
        default=DEFAULT_MODEL,
        pattern=r"^[^\s/]+/[^\s/]+$",
        description="the route name that apps ask for, with its tenant",
    )
    purpose: Text = Field(default="", description="what it is for, in a sentence")
    intended_use: Text = Field(default="", description="who may use it for what, and what it must not be used for")
    success_metric: Text = Field(
        default="approval: mean reward of a rated session", description="what a better version is better at"
    )
    owner: Text = Field(default="", description="who answers for it: a person or team, and how to reach them")
    base: Text | None = Field(
        default=None,
        description="base model: built-in name, hub id, local folder, or GGUF file; none: as it is registered",
    )
    detectors: Detectors = Detectors()
    triggers: Triggers = Triggers()
    gates: Gates = Gates()
    probes: Probes = Probes()
    canary: Canary = Canary()
    reward: RewardPolicy = RewardPolicy()

    @property
    def digest(self) -> str:
        """SHA-256 of all values, in hex: the policy's name in what is decided under it."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()


class Governing(Section):
    """The policy that is valid at a place in the log, with the digest under which it came."""

    policy: ModelPolicy
    digest: str
