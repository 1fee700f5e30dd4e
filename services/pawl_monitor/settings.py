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
