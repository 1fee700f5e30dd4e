"""Hourly rollups: what all-time charts read instead of every row.

A pass adds what the rows beyond the marks change, and moves the marks, in one transaction: what it costs hangs on what
is new, and a crash changes nothing. An answer that was revised counts with what it is worth now less what it was worth
at the marks, so that rollups are right whatever was late, revised or repeated. Readers add the same changes themselves:
what they see is never behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import duckdb

from pawl_shared.topics import EVIDENCE, INTERACTIONS, Topic

HOUR = timedelta(hours=1)
Marks = Mapping[int, int]
KEY = ("hour", "model", "version", "arm")

# What the closed sessions beyond the marks add.
SESSIONS_SQL = """
SELECT date_trunc('hour', ended) AS hour, model, version, arm, count(*) AS sessions, count(reward) AS rated,
       coalesce(fsum(reward), 0) AS reward, sum(answers)::BIGINT AS answers,
       min(ended) FILTER (reward IS NOT NULL) AS first, max(ended) FILTER (reward IS NOT NULL) AS last
FROM evidence WHERE {beyond}
GROUP BY ALL
"""

# The answers that rows beyond the marks concern: every revision has a row in `scores`. A table of its own, as DuckDB
# would take them for most of the answers and read all of those (0.5 s of CPU a pass over 2M answers instead of 0.1 s).
CHANGED_SQL = """
CREATE OR REPLACE TEMP TABLE changed AS SELECT DISTINCT inference_id, choice FROM scores WHERE {beyond}
"""
# What those rows change; where answers are deleted, their rollups are final.
ANSWERS_SQL = """
WITH chosen AS (
    SELECT *, {beyond} AS new FROM answers SEMI JOIN changed USING (inference_id, choice) WHERE time >= '{kept_since}'
), scored AS (
    SELECT inference_id, choice, revision, time, rated::INTEGER AS rated, {beyond} AS new,
           CASE WHEN rated THEN coalesce(reward, 0) ELSE 0 END AS reward
    FROM scores SEMI JOIN changed USING (inference_id, choice)
), now AS (
    SELECT * FROM scored
    QUALIFY row_number() OVER (PARTITION BY inference_id, choice ORDER BY revision DESC, time DESC) = 1
), before AS (
    SELECT * FROM scored WHERE NOT new
    QUALIFY row_number() OVER (PARTITION BY inference_id, choice ORDER BY revision DESC, time DESC) = 1
), said AS (
    SELECT inference_id, choice, 1 AS now, 1 - min(({beyond})::INTEGER) AS before
    FROM feedback SEMI JOIN changed USING (inference_id, choice) WHERE review IS NULL GROUP BY ALL
)
SELECT date_trunc('hour', a.time) AS hour, a.model, a.version, a.arm, count(*) FILTER (a.new) AS answers,
       sum(coalesce(n.rated, 0) - CASE WHEN a.new THEN 0 ELSE coalesce(b.rated, 0) END)::BIGINT AS rated,
       fsum(coalesce(n.reward, 0) - CASE WHEN a.new THEN 0 ELSE coalesce(b.reward, 0) END) AS reward,
       sum(coalesce(f.now, 0) - CASE WHEN a.new THEN 0 ELSE coalesce(f.before, 0) END)::BIGINT AS with_feedback,
       coalesce(sum(a.prompt_tokens) FILTER (a.new), 0)::BIGINT AS prompt_tokens,
       coalesce(sum(a.answer_tokens) FILTER (a.new), 0)::BIGINT AS answer_tokens,
       coalesce(histogram(floor(8 * log2(greatest(a.total_seconds, 1e-6)))::INTEGER) FILTER (a.new), MAP {{}})
           AS total_seconds,
       coalesce(histogram(floor(8 * log2(greatest(a.first_token_seconds, 1e-6)))::INTEGER) FILTER (a.new), MAP {{}})
           AS first_token_seconds
FROM chosen a LEFT JOIN now n USING (inference_id, choice) LEFT JOIN before b USING (inference_id, choice)
LEFT JOIN said f USING (inference_id, choice)
GROUP BY ALL
"""

# How a row of a rollup takes in what was added; columns that are not named here are added up.
_COUNTS = (
    "map_from_entries(list_transform(list_distinct(list_concat(map_keys(r.{name}), map_keys(d.{name}))), "
    "lambda bucket: (bucket, coalesce(r.{name}[bucket], 0) + coalesce(d.{name}[bucket], 0))))"
)
TAKES = {
    "first": "least(r.first, d.first)",
    "last": "greatest(r.last, d.last)",
    "total_seconds": _COUNTS.format(name="total_seconds"),
    "first_token_seconds": _COUNTS.format(name="first_token_seconds"),
}
SOURCES: Mapping[str, tuple[Topic, str, tuple[str, ...]]] = {
    "rollup_sessions": (EVIDENCE, SESSIONS_SQL, ("sessions", "rated", "reward", "answers", "first", "last")),
    "rollup_answers": (
        INTERACTIONS,
        ANSWERS_SQL,
        (
            "answers", "rated", "reward", "with_feedback", "prompt_tokens", "answer_tokens", "total_seconds",
            "first_token_seconds",
        ),
    ),
}  # fmt: skip


def marks(cursor: duckdb.DuckDBPyConnection, topic: Topic) -> Marks | None:
    """The next offset of each partition that is not in the rollups; none before the first pass."""
    found = cursor.execute("SELECT part, next_offset FROM rollup_marks WHERE topic = ?", [topic.name]).fetchall()
    return dict(found) or None


def beyond(known: Marks | None) -> str:
    """SQL: the row is not in the rollups. The smallest offset stands alone as well, so that zone maps can skip; rows
    without a place are older than all marks."""
    if known is None:
        return "true"
    each = " OR ".join(f"(part = {part} AND position >= {offset})" for part, offset in known.items())
    return f"(position IS NOT NULL AND position >= {min(known.values())} AND ({each}))"


def changes(cursor: duckdb.DuckDBPyConnection, rollup: str) -> str:
    """SQL, for this cursor: what the rows beyond the marks add to a rollup, in rows of its form."""
    topic, sql, _ = SOURCES[rollup]
    place = beyond(marks(cursor, topic))
    if rollup == "rollup_answers":
        cursor.execute(CHANGED_SQL.format(beyond=place))
    kept = cursor.execute("SELECT moment FROM kept_since WHERE table_name = 'answers'").fetchone()
    return sql.format(beyond=place, kept_since=kept[0].isoformat() if kept else "-infinity")


def roll(cursor: duckdb.DuckDBPyConnection) -> int:
    """One pass over all rollups; answers how many of their rows were changed."""
    done = 0
    for rollup in SOURCES:
        cursor.execute("BEGIN")
        try:
            done += _roll(cursor, rollup)
            cursor.execute("COMMIT")
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
    return done


def _roll(cursor: duckdb.DuckDBPyConnection, rollup: str) -> int:
    topic, _, columns = SOURCES[rollup]
    found = cursor.execute("SELECT part, next_offset FROM pawl_offsets WHERE topic = ?", [topic.name]).fetchall()
    offsets = dict.fromkeys(range(topic.partitions), 0) | dict(found)
    if offsets == marks(cursor, topic):
        return 0
    taken = ", ".join(f"{name} = {TAKES.get(name, f'r.{name} + d.{name}')}" for name in columns)
    changed = cursor.execute(
        f"MERGE INTO {rollup} r USING ({changes(cursor, rollup)}) d "
        f"ON ({' AND '.join(f'r.{name} = d.{name}' for name in KEY)}) "
        f"WHEN MATCHED THEN UPDATE SET {taken} WHEN NOT MATCHED THEN INSERT BY NAME"
    ).fetchone()
    cursor.execute("DELETE FROM rollup_marks WHERE topic = ?", [topic.name])
    numbers = ", ".join(f"('{topic.name}', {part}, {offset})" for part, offset in offsets.items())
    cursor.execute(f"INSERT INTO rollup_marks VALUES {numbers}")  # noqa: S608
    return int(changed[0]) if changed else 0
