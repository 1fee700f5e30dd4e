"""Which Ticks are copies: told by the latest one of their model, instead of by 43,200 ids a day (docs/adr/0018)."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import BaseModel

from pawl_shared.events import Tick

# The name under which the latest Tick of a model is kept beside the states of folds.
TICKS = "ticks"
# A Tick that is older than this is taken, so that one with a time far ahead does not stop all that come after it.
BELIEVED = timedelta(days=1)


class LatestTick(BaseModel, frozen=True):
    """Of one model."""

    number: int
    time: datetime

    @classmethod
    def of(cls, tick: Tick) -> LatestTick:
        return cls(number=tick.number, time=tick.time)


def is_copy(tick: Tick, latest: LatestTick | None) -> bool:
    """Whether it was handled: two monitors write the same interval once each, and a topic may be written again.

    Not by the number alone, which goes back when intervals are made longer.
    """
    if latest is None:
        return False
    return tick.number == latest.number or latest.time - BELIEVED <= tick.time < latest.time
