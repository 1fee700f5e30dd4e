"""What the validator is told from outside."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field

from pawl_shared.models.graph_spec import Precision
from pawl_shared.settings import RunnerSettings

SERVICE = "validator"


class ValidatorSettings(RunnerSettings):
    """Settings of pawl_validator, beside those that all services share."""

    engine_provider: Literal["cpu", "cuda"] = Field(
        default="cpu", description="what inference computes on, so that new serving graphs suit it"
    )
    graph_precision: Literal["auto", "int8", "fp16", "fp32"] = Field(
        default="auto", description="of new serving graphs; auto: fp16 where PAWL_ENGINE_PROVIDER is cuda, else int8"
    )
    slot_rank: int = Field(default=16, ge=1, le=128, description="highest adapter rank that a serving graph holds")
    evaluation_threads: int = Field(default=0, ge=0, description="CPU threads of an evaluation; 0: one for each core")
    evaluation_nice: int = Field(default=5, ge=0, le=19, description="niceness of child processes")
    evaluation_timeout_seconds: float = Field(default=1800.0, gt=0, description="an evaluation that takes longer ends")
    progress_seconds: float = Field(default=2.0, ge=0, description="least time between two progress events")

    @property
    def precision(self) -> Precision:
        """Of serving graphs whose command leaves it open."""
        if self.graph_precision != "auto":
            return self.graph_precision
        return "fp16" if self.engine_provider == "cuda" else "int8"

    @property
    def threads(self) -> int:
        """Threads of a child process."""
        return self.evaluation_threads or os.cpu_count() or 1
