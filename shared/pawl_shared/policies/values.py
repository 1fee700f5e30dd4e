"""What the values of a policy may be; each with a message that says how it is written."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

# What apps ask for where nothing else was said.
DEFAULT_MODEL = "default/assistant"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*")
DURATION_ADVICE = "write a number with its unit: s, m, h, d or w, such as 90s, 10m or 7d"


def _duration(value: Any) -> Any:
    if not isinstance(value, str) or value.startswith("P"):  # ISO 8601, as events carry it
        return value
    match = _DURATION.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is no duration; {DURATION_ADVICE}")
    try:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    except OverflowError as error:
        raise ValueError(f"{value!r} is too long; {DURATION_ADVICE}") from error


Duration = Annotated[timedelta, BeforeValidator(_duration), Field(ge=timedelta(), le=timedelta(days=3650))]
Share = Annotated[float, Field(gt=0, lt=1)]
# Evidence is compared with the inverse of a level, which must stay a finite number.
Level = Annotated[float, Field(ge=1e-12, lt=1)]
MAX_COUNT = 2**31 - 1
Text = Annotated[str, Field(max_length=2000)]


class Section(BaseModel):
    """A part of a policy."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _can_be_counted(cls, value: Any) -> Any:
        """A number that a decision cannot compute with would fail on every event that follows."""
        if isinstance(value, int) and value > MAX_COUNT:
            raise ValueError(f"at most {MAX_COUNT} is possible")
        return value
