"""What the validator decides by; frozen, with defaults that were measured on SmolLM2-135M and two CPU cores."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pawl_validator.domain.canary import CanaryPolicy
from pawl_validator.domain.gates import GatePolicy


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProbePolicy(Frozen):
    """How much is measured: the time of an evaluation is set here, and with it the smallest harm that can be seen."""

    heldout: int = Field(24, ge=8, description="held-out pairs, and liked and disliked answers, scored at most, each")
    neutral_texts: int = Field(107, ge=20, description="neutral texts scored for retention")
    prompts: int = Field(64, ge=20, description="probe prompts answered for degeneration")
    answer_tokens: int = Field(40, ge=8, description="tokens that a probe answer may have")
    parity_prompts: int = Field(12, ge=1, description="conversations on which the served graph is compared with torch")


class ValidatorPolicy(Frozen):
    """All of it."""

    gates: GatePolicy = GatePolicy()
    probes: ProbePolicy = ProbePolicy()
    canary: CanaryPolicy = CanaryPolicy()
