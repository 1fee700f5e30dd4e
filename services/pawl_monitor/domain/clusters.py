"""Which prompts moved: groups of sketches before and after the start of a change, and what people thought of each.

k-means on the sketches (Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 1982), begun by k-means++
(Arthur and Vassilvitskii, SODA 2007) with random numbers from the alarm's id, on before and after together: which of
the two a session belongs to has no part in how it is grouped. All numbers are whole, so a replay finds the same groups.
The groups are made once an alarm, on at most some 1,000 sketches, in about 0.1 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import sub
from typing import NamedTuple
from uuid import UUID

from pawl_monitor.domain.intervals import Estimate, estimate
from pawl_monitor.domain.traffic import Vector, numbers
from pawl_shared.ids import uniform

KEPT = 512  # of the latest sessions: more than two blocks of the traffic detector
GROUPS = 6
ROUNDS = 8
FEWEST = 30  # sessions before and after; fewer make groups of chance
EXAMPLES = 3


class Recent(NamedTuple):
    """A session of the champion, as far as its group and its place in time go. `ended`: Unix seconds; `example`: the id
    of its first answer."""

    example: str
    sketch: str
    ended: float
    reward: float | None


class Cluster(NamedTuple):
    """A group of prompts: its share of all sessions and its approval, before and after. `members`: its sessions since
    the change began, the most typical ones first."""

    before: Estimate
    after: Estimate
    approval_before: Estimate | None
    approval_after: Estimate | None
    members: tuple[Recent, ...]

    @property
    def examples(self) -> tuple[UUID, ...]:
        """Its most typical answers, to prompts that differ."""
        different = {session.sketch: session.example for session in reversed(self.members)}
        found = [session.example for session in self.members if different[session.sketch] == session.example]
        return tuple(UUID(example) for example in found[:EXAMPLES])

    @property
    def moved(self) -> bool:
        """Both 95 % intervals lie apart."""
        return self.grew or self.after.high < self.before.low

    @property
    def grew(self) -> bool:
        return self.after.low > self.before.high

    @property
    def fell(self) -> bool:
        """Whether people like its answers less: both 95 % intervals lie apart."""
        before, after = self.approval_before, self.approval_after
        return before is not None and after is not None and after.high < before.low


def keep_recent(recent: tuple[Recent, ...], session: Recent) -> tuple[Recent, ...]:
    """The latest sessions."""
    return recent[-KEPT + 1 :] + (session,)  # noqa: RUF005 (unpacked, all are copied once more)


def since(recent: Sequence[Recent], moment: datetime) -> tuple[Recent, ...]:
    """Those that ended at that moment or later."""
    return tuple(session for session in recent if session.ended >= moment.timestamp())


def approval_of(sessions: Sequence[Recent]) -> Estimate | None:
    """Of the rated ones; none when nobody rated any."""
    rewards = [session.reward for session in sessions if session.reward is not None]
    return estimate(sum(rewards), len(rewards))


def clusters_of(seed: UUID, reference: Sequence[str], recent: Sequence[Recent], began: datetime) -> tuple[Cluster, ...]:
    """Groups of prompts, the one whose share grew most first; none where too few sessions are known on a side.

    Args:
        seed: id of the alarm.
        reference: sketches of what was usual; empty: what the recent sessions were before the change.
        recent: the latest sessions, in their order.
        began: the estimated start of the change.
    """
    recent = [session for session in recent if session.sketch]
    after = since(recent, began)
    earlier = recent[: len(recent) - len(after)]
    before = list(reference) or [session.sketch for session in earlier]
    if min(len(before), len(after)) < FEWEST:
        return ()
    centres = _centres(seed, [numbers(text) for text in (*before, *(session.sketch for session in after))])
    shares = [_nearest(centres, numbers(text)) for text in before]
    groups: list[list[tuple[int, Recent]]] = [[] for _ in centres]
    for session in after:
        x = numbers(session.sketch)
        place = _nearest(centres, x)
        groups[place].append((_distance(centres[place], x), session))
    old: list[list[Recent]] = [[] for _ in centres]
    for session in earlier:
        old[_nearest(centres, numbers(session.sketch))].append(session)
    found = [
        _cluster(shares.count(place), len(before), old[place], groups[place], len(after))
        for place in range(len(centres))
    ]
    return tuple(sorted(found, key=lambda cluster: cluster.before.point - cluster.after.point))


def _cluster(
    count: int, total: int, earlier: Sequence[Recent], members: Sequence[tuple[int, Recent]], sessions: int
) -> Cluster:
    before, after = estimate(count, total), estimate(len(members), sessions)
    assert before is not None
    assert after is not None
    typical = tuple(session for _, session in sorted(members, key=lambda member: member[0]))
    return Cluster(before, after, approval_of(earlier), approval_of(typical), typical)


def _centres(seed: UUID, points: Sequence[Vector]) -> list[Vector]:
    centres = [points[int(uniform(seed, "centre 0") * len(points))]]
    while len(centres) < GROUPS:
        weights = [min(_distance(centre, x) for centre in centres) for x in points]
        goal, total = uniform(seed, f"centre {len(centres)}") * sum(weights), 0
        if not any(weights):
            break  # fewer distinct prompts than groups
        for x, weight in zip(points, weights, strict=True):
            total += weight
            if total > goal:
                centres.append(x)
                break
    for _ in range(ROUNDS):
        groups: list[list[Vector]] = [[] for _ in centres]
        for x in points:
            groups[_nearest(centres, x)].append(x)
        moved = [_mean(group) if group else centre for group, centre in zip(groups, centres, strict=True)]
        if moved == centres:
            break
        centres = moved
    return centres


def _mean(points: Sequence[Vector]) -> Vector:
    return tuple(sum(values) // len(points) for values in zip(*points, strict=True))


def _nearest(centres: Sequence[Vector], x: Vector) -> int:
    distances = [_distance(centre, x) for centre in centres]
    return distances.index(min(distances))


def _distance(a: Vector, b: Vector) -> int:
    return sum([d * d for d in map(sub, a, b)])
