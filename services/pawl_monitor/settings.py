"""What the monitor is told from outside."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from pawl_monitor.alerting.formats import Format
from pawl_monitor.domain.alerts import AlertRules
from pawl_monitor.own_hosts import name_of
from pawl_shared.settings import Port, RunnerSettings, TokenSettings

SERVICE = "monitor"


class MonitorSettings(RunnerSettings, TokenSettings):
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

    console_hosts: tuple[str, ...] = Field(
        default=(),
        description="JSON list of names by which browsers reach the console, such as a proxy's; IP addresses, "
        "localhost and the host of PAWL_ALERT_CONSOLE need not be named",
    )
    alert_url: SecretStr | None = Field(
        default=None, description="where alerts are posted (docs/alerts.md); none: nowhere"
    )
    alert_format: Format = Field(
        default="cloudevents", description="how they are written: cloudevents, slack or alertmanager"
    )
    alert_secret: SecretStr | None = Field(
        default=None, description="secret that signs them: whsec_ and the base64 of 24 to 64 random bytes"
    )
    alert_console: str = Field(
        default="", description="address of the console as people reach it; empty: where it listens"
    )
    alert_failures: int = Field(default=2, ge=1, description="failed training runs in a row that are an alert")
    alert_refusals: int = Field(default=3, ge=1, description="refused candidates in a row that are an alert")
    alert_replica_seconds: float = Field(
        default=60.0, gt=0, description="time after a deployment by which each replica should have applied it"
    )
    alert_lag: int = Field(default=50_000, ge=1, description="records that the monitor may be behind")
    alert_quiet_seconds: float = Field(
        default=3600.0, gt=0, description="time without a further dead letter after which that alert is over"
    )

    @field_validator("console_hosts")
    @classmethod
    def _names(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name for name in map(name_of, given) if name)
        if len(names) < len(given):
            raise ValueError('a name is missing: write it as in ["pawl.example.com"]')
        return names

    @property
    def own_hosts(self) -> frozenset[str]:
        """Names by which the console may be asked for, beside localhost and IP addresses."""
        return frozenset(name for name in (*self.console_hosts, name_of(self.console)) if name)

    @property
    def alert_rules(self) -> AlertRules:
        """When the loop itself is in trouble."""
        return AlertRules(
            failures=self.alert_failures,
            refusals=self.alert_refusals,
            replica=timedelta(seconds=self.alert_replica_seconds),
            lag=self.alert_lag,
            quiet=timedelta(seconds=self.alert_quiet_seconds),
        )

    @property
    def console(self) -> str:
        """Where people reach the console."""
        return self.alert_console or f"http://{self.http_host}:{self.http_port}"

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
    def console_key(self) -> Path:
        """The file of what signs logins at the console; made where there is none."""
        return self.data_dir / "keys" / "console.key"

    @property
    def session_gap(self) -> timedelta:
        """The idle gap as a duration."""
        return timedelta(seconds=self.session_gap_seconds)
