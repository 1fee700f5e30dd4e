"""What an alarm turned out to be. Detectors need few sessions to be sure that something changed (60 where most prompts
are new), too few to say what: so groups and advice are told again when more have come, and a review is drawn then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from pydantic import BaseModel, ConfigDict

from pawl_monitor.domain.advice import advise
from pawl_monitor.domain.clusters import Cluster, Recent, clusters_of, since
from pawl_monitor.domain.explanation import interval
from pawl_monitor.domain.review import review_of
from pawl_shared.events import DriftAssessed, DriftDetected, Event, PromptCluster
from pawl_shared.ids import derived_id

ENOUGH = 200  # sessions since the change began
PATIENCE = timedelta(days=1)  # where these do not come
OWN = ("approval", "traffic", "output")  # one alarm of each waits
MOST = 3  # and as many of further detectors, of which river's may raise one after the other


class Pending(BaseModel):
    """An alarm to be assessed. `usual`: sketches of what was usual before it; `sessions`: since it began."""

    model_config = ConfigDict(frozen=True)

    alarm: DriftDetected
    usual: tuple[str, ...]
    sessions: int

    def due(self, now: Event) -> bool:
        """Whether enough is known, or will not be."""
        return self.sessions >= ENOUGH or now.time - self.alarm.time >= PATIENCE


def awaiting(
    pending: tuple[Pending, ...], alarm: DriftDetected, usual: tuple[str, ...], recent: Sequence[Recent]
) -> tuple[Pending, ...]:
    """One more alarm; a newer one of a kind takes the place of the older one, and of further ones a newer one that of
    the oldest."""
    others = tuple(each for each in pending if _kind(each.alarm) != _kind(alarm))
    new = Pending(alarm=alarm, usual=usual, sessions=len(since(recent, alarm.since)))
    further = [each for each in (*others, new) if _kind(each.alarm) not in OWN]
    return tuple(each for each in (*others, new) if each not in further[:-MOST])


def counted(pending: tuple[Pending, ...]) -> tuple[Pending, ...]:
    """One more session."""
    return tuple(each.model_copy(update={"sessions": each.sessions + 1}) for each in pending)


def displaced(
    before: tuple[Pending, ...], now: tuple[Pending, ...], recent: Sequence[Recent], cause: Event, source: str
) -> tuple[Event, ...]:
    """What alarms were that wait no more, as another took their place or their version ends: by what there is. They
    open no review: the newer alarm has its own, and a version that is gone is not to be judged."""
    waiting = {each.alarm.id for each in now}
    return tuple(assess(each, recent, cause, source)[0] for each in before if each.alarm.id not in waiting)


def assess(pending: Pending, recent: Sequence[Recent], cause: Event, source: str) -> tuple[Event, ...]:
    """What the alarm was, by all that has come since, and the review that it opens."""
    alarm = pending.alarm
    clusters = clusters_of(alarm.id, pending.usual, recent, alarm.since)
    assessed = DriftAssessed(
        id=derived_id(alarm.id, DriftAssessed.TYPE),
        time=cause.time,
        source=source,
        cause=cause.id,
        model=alarm.model,
        alarm=alarm.id,
        sessions=len(since(recent, alarm.since)),
        clusters=told(clusters),
        advice=advise(alarm.statistic, alarm.direction, clusters),
        policy=alarm.policy,
    )
    review = review_of(alarm, assessed, clusters, recent)
    return (assessed,) if review is None else (assessed, review)


def told(clusters: Sequence[Cluster]) -> tuple[PromptCluster, ...]:
    """Groups as events carry them."""
    return tuple(
        PromptCluster(
            before=interval(cluster.before),
            after=interval(cluster.after),
            moved=cluster.moved,
            approval_before=cluster.approval_before and interval(cluster.approval_before),
            approval_after=cluster.approval_after and interval(cluster.approval_after),
            examples=cluster.examples,
        )
        for cluster in clusters
    )


def _kind(alarm: DriftDetected) -> str:
    return alarm.detector.partition("/")[0]
