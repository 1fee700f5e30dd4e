"""What the streams service is told from outside."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field

from pawl_shared.settings import TokenSettings

SERVICE = "streams"


class StreamsSettings(TokenSettings):
    """Settings of pawl_streams, beside those that all services share."""

    streams_policy: Path | None = Field(
        default=None,
        description="TOML file that says how texts are scrubbed, by model (docs/feedback.md); none: the defaults",
    )
    join_window: timedelta = Field(
        default=timedelta(days=7),
        gt=timedelta(0),
        description="how long after its answer feedback counts (ISO 8601 or seconds)",
    )
    join_lag: timedelta = Field(
        default=timedelta(days=1),
        ge=timedelta(0),
        description="how much longer an answer's state is kept, for feedback that is in time but delivered late",
    )
