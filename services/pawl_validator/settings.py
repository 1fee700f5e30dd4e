"""What the validator is told from outside."""

from __future__ import annotations

import os

from pydantic import Field

from pawl_shared.settings import RunnerSettings
from pawl_validator.domain.canary import CanaryPolicy
from pawl_validator.domain.gates import GatePolicy
from pawl_validator.policy import ProbePolicy, ValidatorPolicy

_GATES, _PROBES, _CANARY = GatePolicy(), ProbePolicy(), CanaryPolicy()


class ValidatorSettings(RunnerSettings):
    """Settings of pawl_validator, beside those that all services share. Defaults are those of the policies."""

    canary_share: float = Field(
        default=_CANARY.share, gt=0, lt=1, description="part of the sessions that a challenger answers"
    )
    canary_alpha_promote: float = Field(
        default=_CANARY.alpha_promote, gt=0, lt=1, description="bound on promoting a challenger that is not better"
    )
    canary_alpha_rollback: float = Field(
        default=_CANARY.alpha_rollback, gt=0, lt=1, description="bound on rolling back a challenger that is not worse"
    )
    canary_limit_sessions: int = Field(
        default=_CANARY.limit_sessions, gt=0, description="rated sessions after which an undecided canary ends"
    )
    canary_limit_hours: float = Field(
        default=_CANARY.limit_hours, gt=0, description="hours after which an undecided canary ends"
    )
    gate_alpha: float = Field(default=_GATES.alpha, gt=0, lt=0.5, description="error level of each gate's bound")
    gate_max_perplexity_rise: float = Field(
        default=_GATES.max_perplexity_rise, gt=0, description="allowed rise of perplexity over the base, a fraction"
    )
    gate_max_degeneration_rise: float = Field(
        default=_GATES.max_degeneration_rise, gt=0, description="allowed rise of each kind of bad answer, a fraction"
    )
    probe_prompts: int = Field(
        default=_PROBES.prompts, ge=20, description="probe prompts that each model answers, of 207; fewer see less"
    )
    slot_rank: int = Field(default=16, ge=1, le=128, description="highest adapter rank that a serving graph holds")
    evaluation_threads: int = Field(default=0, ge=0, description="CPU threads of an evaluation; 0: one for each core")
    evaluation_nice: int = Field(default=5, ge=0, le=19, description="niceness of child processes")
    evaluation_timeout_seconds: float = Field(default=1800.0, gt=0, description="an evaluation that takes longer ends")
    progress_seconds: float = Field(default=2.0, ge=0, description="least time between two progress events")

    @property
    def policy(self) -> ValidatorPolicy:
        """What to decide by."""
        return ValidatorPolicy(
            gates=GatePolicy(
                alpha=self.gate_alpha,
                max_perplexity_rise=self.gate_max_perplexity_rise,
                max_degeneration_rise=self.gate_max_degeneration_rise,
            ),
            probes=ProbePolicy(prompts=self.probe_prompts),
            canary=CanaryPolicy(
                share=self.canary_share,
                alpha_promote=self.canary_alpha_promote,
                alpha_rollback=self.canary_alpha_rollback,
                limit_sessions=self.canary_limit_sessions,
                limit_hours=self.canary_limit_hours,
            ),
        )

    @property
    def threads(self) -> int:
        """Threads of a child process."""
        return self.evaluation_threads or os.cpu_count() or 1
