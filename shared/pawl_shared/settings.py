"""What every service is told from outside: environment variables `PAWL_*`, declared once, each with a line of prose."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from pawl_shared.buses.kafka_settings import KafkaSettings

Port = Annotated[int, Field(ge=0, le=65535)]


def default_data_dir() -> Path:
    """`~/.local/share/pawl`."""
    return Path.home() / ".local" / "share" / "pawl"


class PawlSettings(KafkaSettings):
    """Settings that all services share."""

    data_dir: Path = Field(default_factory=default_data_dir, description="folder for everything kept on this machine")
    artifact_url: str = Field(
        default="",
        description="URL of the artifact store, file:///folder or s3://bucket/prefix; empty: DATA_DIR/artifacts",
    )
    master_keys: Path | None = Field(
        default=None,
        description="file with the keys that wrap the keys of sealed text, 64 hex digits a line, the newest first; the "
        "same for all services; none: DATA_DIR/keys/master.keys, made where there is none",
    )
    instance: str = Field(default="0", description="names this instance of its service across restarts")
    http_host: str = Field(
        default="127.0.0.1", description="address to listen on; one that other machines reach needs API keys"
    )
    http_port: Port = Field(default=0, description="port to listen on; 0: any free one")
    api_keys_file: Path | None = Field(
        default=None,
        description="file with the hashes of API keys, as `pawl keys` writes it (docs/api-keys.md); none: "
        "DATA_DIR/keys/api.keys; where there is none, whoever is on this machine may ask",
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR")

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def api_keys(self) -> Path:
        """The file of API keys."""
        return self.api_keys_file or self.data_dir / "keys" / "api.keys"

    @property
    def artifacts(self) -> str:
        """The artifact store's URL."""
        return self.artifact_url or f"file://{self.data_dir / 'artifacts'}"

    @property
    def artifact_cache(self) -> Path:
        """Where local copies of artifacts lie; beside a local store, so that copies can be hard links."""
        return self.data_dir / "artifact-cache"


class RunnerSettings(PawlSettings):
    """What the services share whose work is done by a runner."""

    keep_seen_days: float = Field(
        default=60.0,
        ge=0,
        le=36_500,
        description="how old, by its own time, a copy of an event may be and be recognised; 0: any age",
    )

    @property
    def kept_seen(self) -> timedelta | None:
        """How long ids of handled events are kept; none: for ever."""
        return timedelta(days=self.keep_seen_days) if self.keep_seen_days else None


class TokenSettings(PawlSettings):
    """What signs and verifies feedback tokens: the same for inference, streams and monitor."""

    token_key: SecretStr | None = Field(
        default=None,
        description="key (64 hex digits) that signs feedback tokens, the same for inference, streams and monitor; "
        "none: made and kept in DATA_DIR/keys",
    )
    token_previous_keys: tuple[SecretStr, ...] = Field(
        default=(), description="JSON list of older signing keys, whose tokens are still accepted"
    )
