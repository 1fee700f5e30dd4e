"""A review: answers of an alarm that hardly anybody rated, drawn for people to judge.

It is drawn from the sessions since the alarm's estimated start whose prompts belong to the groups that grew (from all
of them where none did), each group by its share, and within a group at random, with numbers from the alarm's id. Every
session of the population has about the same chance, so the plain share of liked ones estimates its approval; and as
strata only reduce the variance (Cochran, "Sampling techniques", 1977, 5.6), an interval of plain draws holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pawl_monitor.domain.advice import LESS_IS_BETTER, TIMES, about
from pawl_monitor.domain.clusters import Cluster, Recent, since
from pawl_shared.events import DriftAssessed, DriftDetected, ReviewItem, ReviewRequested
from pawl_shared.ids import derived_id, uniform

SAMPLE = 50
TOLD = 12  # judged answers from which on a share of them is shown; its interval is then some 50 points wide


def review_of(
    alarm: DriftDetected, assessed: DriftAssessed, clusters: Sequence[Cluster], recent: Sequence[Recent]
) -> ReviewRequested | None:
    """The review that an alarm opens; none: it is about approval, time or failures, or good news, or as many rated
    sessions tell already."""
    what = about(alarm.statistic)
    if what in ("approval", "failed", *TIMES) or (alarm.direction == "drop" and what in LESS_IS_BETTER):
        return None
    grown = [(place, cluster) for place, cluster in enumerate(clusters) if cluster.grew]
    strata = {place: cluster.members for place, cluster in grown} or {0: since(recent, alarm.since)}
    sessions = [session for members in strata.values() for session in members]
    rated = sum(session.reward is not None for session in sessions)
    if not sessions or rated >= SAMPLE:
        return None
    review = derived_id(alarm.id, ReviewRequested.TYPE)
    items = _drawn(review, strata, min(SAMPLE, len(sessions)))
    where = f"in the {len(grown)} groups of prompts that grew" if len(grown) > 1 else "in the group that grew"
    return ReviewRequested(
        id=review,
        time=assessed.time,
        source=assessed.source,
        cause=assessed.cause,
        model=alarm.model,
        alarm=alarm.id,
        version=alarm.version,
        since=alarm.since,
        items=items,
        population=len(sessions),
        rated=rated,
        sentence=(
            f"Please judge {len(items)} answers, drawn from {len(sessions)} sessions"
            f"{f' {where}' if grown else ''} since {alarm.since:%Y-%m-%d %H:%M:%S} UTC: "
            f"{rated or 'none'} of them {'was' if rated == 1 else 'were'} rated by those who asked."
        ),
        policy=alarm.policy,
    )


def _drawn(review: UUID, strata: dict[int, tuple[Recent, ...]], size: int) -> tuple[ReviewItem, ...]:
    """Each stratum's part, by the largest remainders; all of them in one random order."""
    total = sum(map(len, strata.values()))
    parts = {place: size * len(members) // total for place, members in strata.items()}
    rest = sorted(strata, key=lambda place: (-(size * len(strata[place]) % total), place))
    for place in rest[: size - sum(parts.values())]:
        parts[place] += 1
    chosen = [
        (uniform(review, session.example), session.example, place)
        for place, members in strata.items()
        for session in sorted(members, key=lambda each: uniform(review, "draw", each.example))[: parts[place]]
    ]
    return tuple(ReviewItem(inference_id=UUID(example), cluster=place) for _, example, place in sorted(chosen))
