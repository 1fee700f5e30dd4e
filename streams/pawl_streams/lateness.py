"""How long an answer waits for feedback, and when its state may go. Pure: both follow from events, not from clocks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from pawl_shared.events import FeedbackReceived


def answered_at(inference_id: UUID) -> datetime | None:
    """When an answer was given: the time in its UUIDv7 (RFC 9562); None for another kind of id."""
    return datetime.fromtimestamp((inference_id.int >> 80) / 1000, UTC) if inference_id.version == 7 else None


@dataclass(frozen=True)
class Window:
    """wait: how long after its answer feedback counts, by the times of both. lag: how far streams or a producer may be
    behind without any of it being missed; states are kept that much longer."""

    wait: timedelta = timedelta(days=7)
    lag: timedelta = timedelta(days=1)

    def late(self, feedback: FeedbackReceived) -> str:
        """Why feedback does not count any more; empty if it does. The same in every order of arrival, as the time of
        the answer stands in its id."""
        answered = answered_at(feedback.inference_id)
        if answered is None or feedback.time - answered <= self.wait:
            return ""
        return f"too late: {feedback.time - answered} after its answer, {self.wait} are waited (PAWL_JOIN_WINDOW)"

    def over(self, last: datetime, now: datetime) -> bool:
        """Whether a state that last changed by an event of time `last` can go."""
        return last + self.wait + self.lag < now


class Watermark:
    """How far a partition has come in event time. No event moves it beyond the broker's clock, so that a wrong clock in
    the future drops nothing."""

    def __init__(self, every: timedelta = timedelta(hours=1)) -> None:
        self.now: datetime | None = None
        self._swept: datetime | None = None
        self._every = every

    def reached(self, time: datetime, appended: datetime) -> datetime:
        """One event of this time, appended then; answers the event's time, at most the broker's."""
        time = min(time, appended)
        self.now = max(self.now or time, time)
        return time

    def sweep_due(self) -> bool:
        """Whether it is time to look for states to drop: once for each hour of events."""
        if self.now is None or (self._swept is not None and self.now - self._swept < self._every):
            return False
        self._swept = self.now
        return True
