"""Which Ticks are copies: told by the latest one of their model, instead of by 43,200 ids a day (docs/adr/0018)."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import BaseModel

from pawl_shared.events import Tick

# The name under which the latest Tick of a model is kept beside the states of folds.
TICKS = "ticks"
# What clocks of two monitors, or of a monitor and the broker, may differ by while both are right; also how late a
# record may be appended before it counts as written again.
SKEW = timedelta(minutes=1)
# Of Ticks that were written again, those older than this are taken: a clock that was ahead must not stop all others.
BELIEVED = timedelta(days=1)


class LatestTick(BaseModel, frozen=True):
    """Of one model."""

    number: int
    time: datetime

    @classmethod
    def of(cls, tick: Tick, appended: datetime) -> LatestTick:
        """What is remembered; of a clock that is ahead no more than the broker's, so that it counts for a minute."""
        return cls(number=tick.number, time=min(tick.time, appended + SKEW))


def is_copy(tick: Tick, appended: datetime, latest: LatestTick | None) -> bool:
    """Whether it was handled: two monitors write the same interval once each, and a topic may be written again.

    Not by the number alone, which goes back when intervals are made longer. And not by the time alone, which goes back
    when a clock that was ahead is put right: a Tick that is fresh where the broker appended it is no copy.
    """
    if latest is None:
        return False
    if tick.number == latest.number:
        return True
    behind = latest.time - tick.time
    written_again = appended - tick.time > SKEW
    return timedelta(0) < behind <= (BELIEVED if written_again else SKEW)
