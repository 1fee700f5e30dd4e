"""Whose sessions a model's detectors watch: those of the champion here, or those that were answered elsewhere.

One reference cannot hold both. They watch one side until the other clearly has more sessions, so that a few requests
that somebody tries, here or there, do not make them begin anew. The champion's own sessions count double: in a mixture
of equal parts they stay with what Pawl itself can change.
"""

from __future__ import annotations

from pawl_monitor.domain.watched import Watched
from pawl_shared.events import SessionObserved

SWITCH = 50


def speaks(event: SessionObserved) -> bool:
    """Whether a session is of either side at all; other arms answer for nothing but their trial."""
    return event.arm in ("champion", "external")


def follow(state: Watched, event: SessionObserved) -> tuple[Watched, bool]:
    """The state with this session counted, and whether its side is the one that is watched from now on. The first
    session of all decides; then a side has to lead by SWITCH."""
    elsewhere = event.arm == "external"
    if state.version is None or elsewhere == state.elsewhere:
        lead = max(0, state.lead - (1 if elsewhere else 2))
        if (lead, elsewhere) == (state.lead, state.elsewhere):
            return state, True
        return state.model_copy(update={"lead": lead, "elsewhere": elsewhere}), True
    lead = state.lead + (1 if elsewhere else 2)
    if lead < SWITCH:
        return state.model_copy(update={"lead": lead}), False
    return state.model_copy(update={"lead": 0, "elsewhere": elsewhere}), True


def changed(before: Watched, after: Watched, event: SessionObserved) -> bool:
    """Whether a session begins another reference: of another side, or of another champion. Providers change what
    answers under one name without a word, and routers mix several: a change for the worse there is what an alarm is
    for, and no new beginning."""
    if before.version is None or before.elsewhere != after.elsewhere:
        return True
    return not after.elsewhere and event.version != before.version
