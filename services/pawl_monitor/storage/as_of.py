"""Questions about an earlier state: by event time, or by what had been read, up to given offsets of pawl.interactions.

Time says what had happened; offsets say what the monitor knew, which is what a decision was made from: a vote that was
given at noon and arrived at one is in the first at noon and in the second at one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pawl_shared.errors import PawlError

Moment = datetime | Mapping[int, int]

SUMMARY_SQL = """
WITH known AS (SELECT * FROM answers WHERE model = $model AND {known}),
latest AS (
    SELECT inference_id, choice, reward, rated FROM scores WHERE model = $model AND {known}
    QUALIFY row_number() OVER (PARTITION BY inference_id, choice ORDER BY revision DESC, time DESC) = 1
)
SELECT a.version, a.arm, count(*) AS answers, count(*) FILTER (s.rated) AS rated,
       avg(s.reward) FILTER (s.rated) AS reward
FROM known a LEFT JOIN latest s USING (inference_id, choice) GROUP BY ALL ORDER BY a.version, a.arm
"""

INTERACTION_SQL = """
SELECT a.*, s.revision, s.reward, coalesce(s.rated, false) AS rated
FROM answers a LEFT JOIN (
    SELECT * FROM scores WHERE inference_id = $id AND {known}
    QUALIFY row_number() OVER (PARTITION BY inference_id, choice ORDER BY revision DESC, time DESC) = 1
) s USING (inference_id, choice)
WHERE a.inference_id = $id AND {of_answer} ORDER BY a.choice
"""

FEEDBACK_SQL = "SELECT * FROM feedback WHERE inference_id = $id AND {known} ORDER BY time, feedback_id"


class MomentError(PawlError):
    """A moment that cannot be read."""


def known(moment: Moment | None, table: str = "") -> tuple[str, dict[str, Any]]:
    """SQL for "this row was there", with its parameters. Rows without a place are older than places are."""
    name = f"{table}." if table else ""
    if moment is None:
        return "true", {}
    if isinstance(moment, datetime):
        return f"{name}time <= $moment", {"moment": moment}
    read = [f"({name}part = {int(part)} AND {name}position < {int(offset)})" for part, offset in moment.items()]
    return f"({' OR '.join([f'{name}position IS NULL', *read])})", {}


def moment_of(time: str, offsets: str) -> Moment | None:
    """From text: a time with its zone, or `partition:offset,…`; neither: now.

    Raises:
        MomentError: it is neither, or both.
    """
    if time and offsets:
        raise MomentError("give a time or offsets, not both: they ask for different things")
    try:
        if time:
            moment = datetime.fromisoformat(time)
            if moment.tzinfo is None:
                raise MomentError(f"{time} has no zone: write it as 2026-01-31T12:00:00Z")
            return moment
        pairs = (pair.split(":") for pair in offsets.split(",") if pair)
        return {int(part): int(offset) for part, offset in pairs} if offsets else None
    except ValueError as error:
        raise MomentError(
            f"{time or offsets!r}: write a time as 2026-01-31T12:00:00Z, offsets as 0:120,1:98"
        ) from error
