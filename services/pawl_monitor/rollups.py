"""Hourly rollups: what all-time charts read instead of every row.

A pass computes again, from raw rows, every hour that a row beyond the marks concerns, and moves the marks, in one
transaction; so rollups are right whatever was late, revised or repeated, and a crash changes nothing. Readers add the
rows beyond the marks themselves: what they see is never behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from pawl_shared.topics import EVIDENCE, INTERACTIONS, Topic

HOUR = timedelta(hours=1)
Marks = Mapping[int, int]

SESSIONS_SQL = """
SELECT date_trunc('hour', ended) AS hour, model, version, arm, count(*) AS sessions, count(reward) AS rated,
       coalesce(fsum(reward), 0) AS reward, sum(answers)::BIGINT AS answers,
       min(ended) FILTER (reward IS NOT NULL) AS first, max(ended) FILTER (reward IS NOT NULL) AS last
FROM evidence
WHERE ended >= $first AND ended < $last AND list_contains($hours, date_trunc('hour', ended))
GROUP BY ALL
"""

ANSWERS_SQL = """
WITH chosen AS (
    SELECT * FROM answers
    WHERE time >= $first AND time < $last AND list_contains($hours, date_trunc('hour', time))
), latest AS (
    SELECT inference_id, choice, reward, rated FROM scores SEMI JOIN chosen USING (inference_id, choice)
    QUALIFY row_number() OVER (PARTITION BY inference_id, choice ORDER BY revision DESC, time DESC) = 1
), said AS (
    SELECT DISTINCT inference_id, choice, true AS said FROM feedback SEMI JOIN chosen USING (inference_id, choice)
)
SELECT date_trunc('hour', a.time) AS hour, a.model, a.version, a.arm, count(*) AS answers,
       count(*) FILTER (l.rated) AS rated, coalesce(fsum(l.reward) FILTER (l.rated), 0) AS reward,
       count(*) FILTER (f.said) AS with_feedback,
       sum(a.prompt_tokens)::BIGINT AS prompt_tokens, sum(a.answer_tokens)::BIGINT AS answer_tokens,
       histogram(floor(8 * log2(greatest(a.total_seconds, 1e-6)))::INTEGER) AS total_seconds,
       histogram(floor(8 * log2(greatest(a.first_token_seconds, 1e-6)))::INTEGER) AS first_token_seconds
FROM chosen a LEFT JOIN latest l USING (inference_id, choice) LEFT JOIN said f USING (inference_id, choice)
GROUP BY ALL
"""

SOURCES: Mapping[str, tuple[Topic, str]] = {
    "rollup_sessions": (EVIDENCE, SESSIONS_SQL),
    "rollup_answers": (INTERACTIONS, ANSWERS_SQL),
}


def marks(cursor: duckdb.DuckDBPyConnection, topic: Topic) -> Marks | None:
    """The next offset of each partition that is not in the rollups; none before the first pass."""
    found = cursor.execute("SELECT part, next_offset FROM rollup_marks WHERE topic = ?", [topic.name]).fetchall()
    return dict(found) or None


def beyond(known: Marks | None, table: str = "") -> str:
    """SQL: the row is not in the rollups. The smallest offset stands alone as well, so that zone maps can skip."""
    if known is None:
        return "true"
    name = f"{table}." if table else ""
    each = " OR ".join(f"({name}part = {part} AND {name}position >= {offset})" for part, offset in known.items())
    return f"({name}position >= {min(known.values())} AND ({each}))"


def stale_hours(cursor: duckdb.DuckDBPyConnection, rollup: str) -> list[datetime]:
    """Hours of which the rollup does not know everything, oldest first; those whose rows are deleted are left out."""
    known = marks(cursor, SOURCES[rollup][0])
    if rollup == "rollup_sessions":
        sql = f"SELECT DISTINCT date_trunc('hour', ended) AS hour FROM evidence WHERE {beyond(known)} ORDER BY 1"  # noqa: S608
        return [hour.astimezone(UTC) for (hour,) in cursor.execute(sql).fetchall()]
    sql = f"""
    WITH changed AS (
        SELECT inference_id, choice FROM scores WHERE {beyond(known)}
        UNION SELECT inference_id, choice FROM feedback WHERE {beyond(known)}
        UNION SELECT inference_id, choice FROM answers WHERE {beyond(known)}
    )
    SELECT DISTINCT date_trunc('hour', a.time) FROM answers a SEMI JOIN changed USING (inference_id, choice)
    WHERE a.time >= coalesce((SELECT moment FROM kept_since WHERE table_name = 'answers'), '-infinity'::TIMESTAMPTZ)
    ORDER BY 1
    """  # noqa: S608
    return [hour.astimezone(UTC) for (hour,) in cursor.execute(sql).fetchall()]


def values_of(hours: Sequence[datetime]) -> dict[str, Any]:
    """The parameters of a rollup's SQL."""
    return {"hours": list(hours), "first": hours[0], "last": hours[-1] + HOUR}


def roll(cursor: duckdb.DuckDBPyConnection) -> int:
    """One pass over all rollups; answers how many hours were computed anew."""
    done = 0
    for rollup, (topic, sql) in SOURCES.items():
        cursor.execute("BEGIN")
        try:
            done += _roll(cursor, rollup, topic, sql)
            cursor.execute("COMMIT")
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
    return done


def _roll(cursor: duckdb.DuckDBPyConnection, rollup: str, topic: Topic, sql: str) -> int:
    hours = stale_hours(cursor, rollup)
    found = cursor.execute("SELECT part, next_offset FROM pawl_offsets WHERE topic = ?", [topic.name]).fetchall()
    if hours:
        cursor.execute(f"DELETE FROM {rollup} WHERE list_contains(?, hour)", [hours])  # noqa: S608
        cursor.execute(f"INSERT INTO {rollup} BY NAME {sql}", values_of(hours))
    offsets = dict.fromkeys(range(topic.partitions), 0) | dict(found)
    cursor.execute("DELETE FROM rollup_marks WHERE topic = ?", [topic.name])
    numbers = ", ".join(f"('{topic.name}', {part}, {offset})" for part, offset in offsets.items())
    cursor.execute(f"INSERT INTO rollup_marks VALUES {numbers}")  # noqa: S608
    return len(hours)
