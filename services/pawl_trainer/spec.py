"""What a run is told (spec.json), and the knobs of training with the figures they stand on."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pawl_shared.recipes import RecipeChoice

Precision = Literal["auto", "bf16", "fp32"]


class TrainingSettings(BaseModel):
    """How to train. The defaults were measured on SmolLM2-135M with two CPU cores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=16, ge=1, le=256, description="rank of the LoRA matrices")
    alpha: int = Field(default=32, ge=1, le=1024, description="LoRA scale: the update is multiplied by alpha / rank")
    learning_rate: float = Field(default=2e-4, gt=0, le=1, description="peak learning rate, decays linearly to zero")
    beta: float = Field(default=0.1, gt=0, le=10, description="strength of the pull to the reference in KTO and DPO")
    batch_size: int = Field(default=4, ge=2, le=256, description="examples an optimiser step; KTO needs at least 2")
    target_steps: int = Field(default=18, ge=1, description="optimiser steps to aim at: 6 were too few, 9-30 enough")
    max_epochs: int = Field(
        default=6, ge=1, le=20, description="never show an example more often: 12 corrections take 18 steps this way"
    )
    max_length: int = Field(default=512, ge=32, description="tokens of prompt and answer; longer rows are dropped")
    max_pairs: int = Field(default=72, ge=2, description="pairs a DPO run takes at most, the newest corrections first")
    max_thumbs: int = Field(
        default=36, ge=2, description="liked, and as many disliked, answers a KTO run takes at most"
    )
    max_demonstrations: int = Field(default=96, ge=2, description="answers an SFT run takes at most")
    min_pairs: int = Field(default=12, ge=2, description="corrections and comparisons with which auto chooses DPO")
    min_thumbs: int = Field(default=30, ge=2, description="liked and disliked answers each with which auto chooses KTO")
    min_demonstrations: int = Field(default=50, ge=2, description="good answers with which auto chooses SFT")
    precision: Precision = Field(default="auto", description="auto: bf16 where the processor computes it, else fp32")
    threads: int = Field(default=0, ge=0, description="CPU threads of the run; 0: as many as there are cores")


class RunSpec(BaseModel):
    """One run: local copies of its inputs, their digests, and how to train."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    model: str
    base_dir: Path
    base: str = Field(description="digest of the base folder")
    dataset_dir: Path
    dataset: str = Field(description="digest of the snapshot folder")
    parent_file: Path | None = Field(default=None, description="adapter to start from; none: from the base")
    recipe: RecipeChoice = "auto"
    seed: int = Field(default=0, ge=0, lt=2**32)
    settings: TrainingSettings = TrainingSettings()
