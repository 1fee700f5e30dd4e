"""What the monitor is told from outside."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field

from pawl_shared.settings import Port, RunnerSettings


class MonitorSettings(RunnerSettings):
    """Settings of pawl_monitor, beside those that all services share."""

    http_port: Port = Field(default=8080, description="port of the console and the API; 0: any free one")
    session_gap_seconds: float = Field(default=1800.0, gt=0, description="idle time after which a session is over")
    tick_seconds: float = Field(default=2.0, gt=0, description="how often time is written to the log")
    gather_seconds: float = Field(
        default=0.5, ge=0, le=60, description="how long records are gathered for one commit; less: fresher, dearer"
    )
    drift_alpha: float = Field(
        default=1e-5, gt=0, lt=1, description="false alarms per stable session and direction that are accepted"
    )
    drift_delta: float = Field(
        default=0.1, gt=0, lt=1, description="probability that the reference of a version is ever wrong, per direction"
    )
    drift_reference_sessions: int = Field(
        default=250, ge=20, description="rated sessions that the detector learns from before it can raise an alarm"
    )
    trigger_min_pairs: int = Field(
        default=12, ge=1, description="corrections or comparisons (to train on) that are enough for a run"
    )
    trigger_min_up: int = Field(default=30, ge=1, description="liked answers that are enough, with the disliked ones")
    trigger_min_down: int = Field(default=30, ge=1, description="disliked answers that are enough, with the liked ones")
    trigger_min_heldout_pairs: int = Field(
        default=8, ge=1, description="held-out corrections or comparisons that the validator needs to judge by"
    )
    trigger_min_heldout_each: int = Field(
        default=10, ge=1, description="held-out liked and disliked answers, each, that the validator needs otherwise"
    )
    trigger_cooldown_seconds: float = Field(default=600.0, ge=0, description="least time between two runs")
    trigger_more_data: float = Field(
        default=1.5, ge=1, description="after a refused candidate: times as many rows as it was trained on"
    )
    trigger_max_rejections: int = Field(
        default=3, ge=1, description="refused candidates in a row after which the loop pauses itself"
    )
    weigh_seconds: float = Field(default=5.0, gt=0, description="how often feedback is counted while an alarm is open")
    heldout_share: float = Field(default=0.25, gt=0, lt=1, description="share of prompts that is never trained on")
    keep_interactions_days: float = Field(
        default=365.0, ge=0, description="how long answers, feedback and scores are kept; 0: for ever"
    )
    keep_replicas_days: float = Field(
        default=30.0, ge=0, description="how long replicas' reports are kept; 0: for ever"
    )
    keep_dead_letters_days: float = Field(
        default=30.0, ge=0, description="how long the console lists dead letters; 0: for ever"
    )

    @property
    def kept(self) -> dict[str, timedelta | None]:
        """How long rows are kept, by the names in retention.TABLES; None: for ever."""
        days = {
            "interactions": self.keep_interactions_days,
            "replicas": self.keep_replicas_days,
            "dead_letters": self.keep_dead_letters_days,
        }
        kept = {name: timedelta(days=number) if number else None for name, number in days.items()}
        return kept | {"seen": self.kept_seen}

    @property
    def database(self) -> Path:
        """The monitor's DuckDB file."""
        return self.data_dir / "monitor" / "monitor.duckdb"

    @property
    def session_gap(self) -> timedelta:
        """The idle gap as a duration."""
        return timedelta(seconds=self.session_gap_seconds)

    @property
    def weigh_every(self) -> timedelta:
        """The interval of counting feedback as a duration."""
        return timedelta(seconds=self.weigh_seconds)

    @property
    def trigger_cooldown(self) -> timedelta:
        """The cooldown as a duration."""
        return timedelta(seconds=self.trigger_cooldown_seconds)
