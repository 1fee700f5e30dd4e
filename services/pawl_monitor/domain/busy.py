"""When the loop itself keeps the machine busy: while a run trains and its candidate is examined, answers on the same
machine take longer. How long a session's answers took is then no evidence of anything else.

Nothing on the log says which machines share their processors, so a run on another one hides slow answers, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from pawl_shared.events import CandidateRejected, CandidateValidated, Event, SessionObserved, TrainingFailed
from pawl_shared.events import TrainingStarted as Started

KEPT = 4
LONGEST = timedelta(days=1)  # of a run whose end is not told


class Span(NamedTuple):
    """A run, from its training to the verdict on its candidate. `ended`: none while it goes on."""

    run: UUID
    began: datetime
    ended: datetime | None = None


def follow(spans: tuple[Span, ...], event: Event) -> tuple[Span, ...]:
    """What a run has come to."""
    match event:
        case Started():
            others = tuple(span for span in spans if span.run != event.run)
            return (*others, Span(event.run, event.time))[-KEPT:]
        case TrainingFailed() | CandidateValidated() | CandidateRejected():
            return tuple(span._replace(ended=event.time) if span.run == event.run else span for span in spans)
        case _:
            return spans


def meets(spans: Sequence[Span], session: SessionObserved) -> bool:
    """Whether a run was in progress at any time of a session."""
    return any(
        session.started <= (span.ended or span.began + LONGEST) and session.ended >= span.began for span in spans
    )
