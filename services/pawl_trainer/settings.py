"""What the trainer is told from outside."""

from typing import get_args

from pydantic import Field

from pawl_shared.settings import RunnerSettings
from pawl_trainer.spec import Precision, TrainingSettings

SERVICE = "trainer"


class TrainerSettings(RunnerSettings):
    """Settings of pawl_trainer, beside those that all services share. Training's own defaults stand in spec.py."""

    rank: int = Field(default=TrainingSettings().rank, ge=1, le=256, description="rank of the LoRA matrices")
    alpha: int = Field(default=TrainingSettings().alpha, ge=1, le=1024, description="LoRA scale, divided by the rank")
    learning_rate: float = Field(
        default=TrainingSettings().learning_rate, gt=0, le=1, description="peak learning rate of all recipes"
    )
    max_length: int = Field(
        default=TrainingSettings().max_length, ge=32, description="tokens of prompt and answer; longer rows are dropped"
    )
    precision: Precision = Field(
        default="auto", description=f"numbers to compute with: {', '.join(get_args(Precision))} (auto: bf16 if fast)"
    )
    training_threads: int = Field(default=0, ge=0, description="CPU threads of a run; 0: as many as there are cores")
    training_nice: int = Field(default=5, ge=0, le=19, description="niceness of a run, so that serving keeps its share")
    training_timeout_seconds: float = Field(default=3600.0, gt=0, description="a run that takes longer is ended")
    progress_seconds: float = Field(default=2.0, ge=0, description="least time between two progress events")

    @property
    def training(self) -> TrainingSettings:
        """How a run is to train."""
        return TrainingSettings(
            rank=self.rank,
            alpha=self.alpha,
            learning_rate=self.learning_rate,
            max_length=self.max_length,
            precision=self.precision,
            threads=self.training_threads,
        )
