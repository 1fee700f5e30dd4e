"""What the console and the API read: SQL on the monitor's own database, on one cursor a call."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pawl_monitor.domain.watched import Watched
from pawl_monitor.storage import as_of, rollups
from pawl_monitor.storage.as_of import Moment
from pawl_monitor.storage.cursors import Cursors, Fact, facts
from pawl_monitor.storage.model_names import ModelNames
from pawl_shared.events import VersionObserved
from pawl_shared.topics import EVIDENCE, INTERACTIONS

HOUR_SECONDS = 3600.0

SERIES_SQL = """
SELECT arm, version, least(floor((epoch(ended) - $start) / $width), $last)::INTEGER AS bucket, count(*) AS n,
       sum(reward) AS total, max(epoch(ended)) AS until
FROM evidence WHERE model = $model AND reward IS NOT NULL AND arm <> 'pinned' AND epoch(ended) >= $start
GROUP BY ALL ORDER BY bucket, arm, version
"""

RECENT_SQL = """
SELECT reward FROM evidence
WHERE model = $model AND version = $version AND arm = $arm AND reward IS NOT NULL AND ended >= $since
ORDER BY ended DESC, event_id LIMIT $limit
"""

# Dead letters, and when each one's record was last published again. One that failed again has a letter of its own.
LETTERS_SQL = """
SELECT letters.*, tries.retried FROM dead_letters letters LEFT JOIN (
  SELECT event_id, max(time) AS retried FROM (
    SELECT unnest(CAST(value -> '$.letters' AS UUID[])) AS event_id, time
    FROM records WHERE type = 'pawl.command.retry-dead-letters.v1'
  ) GROUP BY event_id
) tries USING (event_id)
"""

# Every viewer of the overview asks this once a second: what there is in all is read from the rollups, and from rows
# that are not in them yet. Of feedback, which they do not count, there is little beside answers.
COUNTS_SQL = """
SELECT
  (SELECT coalesce(sum(answers), 0)::BIGINT FROM rollup_answers WHERE model = $model)
    + (SELECT count(*) FROM answers WHERE model = $model AND {new_answers}) AS answers,
  (SELECT count(*) FROM answers WHERE model = $model AND time > $recent) AS answers_recent,
  f.feedback, f.feedback_recent, f.pairs,
  r.sessions + e.sessions AS sessions, r.rated + e.rated AS rated,
  (SELECT count(*) FROM evidence WHERE model = $model AND time > $recent) AS sessions_recent,
  l.dead_letters, l.dead_letters_retried
FROM (
  SELECT count(*) AS feedback, count(*) FILTER (time > $recent) AS feedback_recent,
         count(*) FILTER (kind IN ('correction', 'comparison')) AS pairs FROM feedback WHERE model = $model
) f, (
  SELECT coalesce(sum(sessions), 0)::BIGINT AS sessions, coalesce(sum(rated), 0)::BIGINT AS rated
  FROM rollup_sessions WHERE model = $model
) r, (
  SELECT count(*) AS sessions, count(reward) AS rated FROM evidence WHERE model = $model AND {new_sessions}
) e, (
  SELECT count(*) FILTER (retried IS NULL) AS dead_letters, count(retried) AS dead_letters_retried FROM ({letters})
) l
"""

DETECTOR_SQL = """
SELECT * EXCLUDE (model) FROM (SELECT * FROM detector WHERE model = ? ORDER BY time DESC LIMIT ?) ORDER BY time
"""
# Whole hours from the rollups, and sessions that are not in them yet.
ALL_TIME_SQL = """
WITH facts AS (
  SELECT arm, version, hour AS moment, rated AS n, reward AS total, first, last
  FROM rollup_sessions WHERE model = $model AND rated > 0 AND arm <> 'pinned'
  UNION ALL
  SELECT arm, version, ended, 1, reward, ended, ended
  FROM evidence WHERE model = $model AND reward IS NOT NULL AND arm <> 'pinned' AND {beyond}
)
"""
SPAN_SQL = """
SELECT min(epoch(first)) AS first, max(epoch(last)) AS last, coalesce(sum(n), 0)::BIGINT AS n FROM facts
"""
HOURS_SQL = """
SELECT arm, version, least(floor((epoch(moment) - $start) / $width), $last)::INTEGER AS bucket, sum(n)::BIGINT AS n,
       sum(total) AS total, max(epoch(last)) AS until
FROM facts WHERE epoch(moment) >= $start GROUP BY ALL ORDER BY bucket, arm, version
"""
USAGE_SQL = """
SELECT hour, version, arm, answers, rated, reward, with_feedback, prompt_tokens, answer_tokens, total_seconds,
       first_token_seconds
FROM {source} WHERE model = $model AND hour >= $since
"""
ANSWERS_SQL = """
SELECT * FROM answers WHERE model = $model AND inference_id IN (SELECT unnest($ids)) ORDER BY choice DESC
"""
REVIEWED_SQL = "SELECT * FROM feedback WHERE review = ? ORDER BY time, feedback_id"
APPROVAL_SQL = """
SELECT coalesce(sum(reward), 0) AS total, count(*) AS n FROM evidence
WHERE model = $model AND version = $version AND arm = 'champion' AND reward IS NOT NULL AND ended < $until
"""
TRACE_SQL = """
SELECT * FROM (
  SELECT time, {column} AS evidence FROM {table}
  WHERE model = $model AND version = $version AND time <= $until AND {column} IS NOT NULL
  ORDER BY time DESC LIMIT $limit
) ORDER BY time
"""
TRACES = {"approval drop": ("detector", "drop_evidence"), "approval rise": ("detector", "rise_evidence"),
          "traffic": ("evidence", "traffic_evidence"), "output": ("evidence", "output_evidence")}  # fmt: skip
USAGE_KEY = ("hour", "version", "arm")
LIVE_SQL = """
SELECT * FROM records WHERE model = ? AND type = ?
QUALIFY row_number() OVER (PARTITION BY value ->> '$.version' ORDER BY position DESC) = 1 ORDER BY position
"""


class Reader:
    """Questions about a model; answers are plain values."""

    def __init__(self, cursors: Cursors) -> None:
        self.cursors = cursors
        self.models = ModelNames(cursors)

    def watched(self, model: str) -> Watched | None:
        """The monitor's state of a model."""
        found = self._facts("SELECT value FROM pawl_state WHERE fold = 'watch' AND key = ?", [model])
        return Watched.model_validate_json(found[0]["value"]) if found else None

    def counts(self, model: str, recent: datetime) -> Fact:
        """Answers, feedback and sessions: in all, and since `recent`. Feedback and dead letters: as long as they are
        kept."""
        with self.cursors.snapshot() as cursor:
            answers, sessions = (rollups.beyond(rollups.marks(cursor, topic)) for topic in (INTERACTIONS, EVIDENCE))
            sql = COUNTS_SQL.format(new_answers=answers, new_sessions=sessions, letters=LETTERS_SQL)
            return facts(cursor, sql, {"model": model, "recent": recent})[0]

    def recent_rewards(self, model: str, version: str, arm: str, since: datetime, limit: int) -> list[float]:
        """Rewards of the latest rated sessions of a version."""
        values = {"model": model, "version": version, "arm": arm, "since": since, "limit": limit}
        return [row["reward"] for row in self._facts(RECENT_SQL, values)]

    def span(self, model: str) -> tuple[float, float, int] | None:
        """When the first and the last rated session ended (Unix seconds), and how many there are."""
        row = self._all_time(SPAN_SQL, {"model": model})[0]
        return (row["first"], row["last"], row["n"]) if row["n"] else None

    def series(self, model: str, start: float, width: float, buckets: int) -> list[Fact]:
        """Rated sessions by arm, version and bucket of time: their number and the sum of rewards.

        Buckets of whole hours, from a whole hour on, are read from the rollups: every row of a year would take seconds.
        """
        values = {"model": model, "start": start, "width": width, "last": buckets - 1}
        if width % HOUR_SECONDS == 0 and start % HOUR_SECONDS == 0:
            return self._all_time(HOURS_SQL, values)
        return self._facts(SERIES_SQL, values)

    def usage(self, model: str, since: datetime) -> list[Fact]:
        """Answers by hour, version and arm; latencies as counts by bucket floor(8 log2(seconds))."""
        values: dict[str, Any] = {"model": model, "since": since}
        with self.cursors.snapshot() as cursor:
            sources = ("rollup_answers", f"({rollups.changes(cursor, 'rollup_answers')})")
            found = [row for source in sources for row in facts(cursor, USAGE_SQL.format(source=source), values)]
        rows: dict[tuple[Any, ...], Fact] = {}
        for row in found:
            key = tuple(row[name] for name in USAGE_KEY)
            rows[key] = _sum(rows[key], row) if key in rows else row
        return [rows[key] for key in sorted(rows)]

    def offsets(self, topic: str) -> dict[int, int]:
        """What has been read of a topic: the next offset of each partition."""
        found = self._facts("SELECT part, next_offset FROM pawl_offsets WHERE topic = ? ORDER BY part", [topic])
        return {row["part"]: row["next_offset"] for row in found}

    def summary(self, model: str, moment: Moment | None = None) -> list[Fact]:
        """Answers and their rewards by version and arm, as they were known at a moment."""
        known, values = as_of.known(moment)
        return self._facts(as_of.SUMMARY_SQL.format(known=known), {"model": model, **values})

    def detector(self, model: str, limit: int = 2000) -> list[Fact]:
        """The detector after each of the latest sessions, oldest first."""
        return self._facts(DETECTOR_SQL, [model, limit])

    def records(
        self, model: str, types: tuple[str, ...] = (), limit: int = 500, without: Collection[str] = ()
    ) -> list[Fact]:
        """The latest control events (of these types, or of all but some), newest first; `value` is the event's JSON as
        a dictionary. Many reports may follow from one batch, and have one time: then the later one on its topic."""
        among = f" AND type IN ({', '.join('?' * len(types))})" if types else ""
        among += f" AND type NOT IN ({', '.join('?' * len(without))})" if without else ""
        sql = f"SELECT * FROM records WHERE model = ?{among} ORDER BY time DESC, position DESC, event_id LIMIT ?"  # noqa: S608
        found = self._facts(sql, [model, *types, *without, limit])
        return [{**row, "value": json.loads(row["value"])} for row in found]

    def live(self, model: str) -> list[Fact]:
        """The latest VersionObserved of each version."""
        found = self._facts(LIVE_SQL, [model, VersionObserved.TYPE])
        return [{**row, "value": json.loads(row["value"])} for row in found]

    def record(self, identity: UUID, kind: str) -> Fact | None:
        """One control event of this type, with its model; none when it is not known."""
        found = self._facts("SELECT * FROM records WHERE event_id = ? AND type = ?", [identity, kind])
        return {**found[0], "value": json.loads(found[0]["value"])} if found else None

    def answers(self, model: str, ids: Sequence[str]) -> dict[str, Fact]:
        """Answers by their id, those that are kept; of several choices the first."""
        found = self._facts(ANSWERS_SQL, {"model": model, "ids": [UUID(identity) for identity in ids]})
        return {str(row["inference_id"]): {**row, "messages": json.loads(row["messages"])} for row in found}

    def reviewed(self, review: UUID) -> list[Fact]:
        """What reviewers said in a review, in the order of its times."""
        return self._facts(REVIEWED_SQL, [review])

    def review_counts(self, model: str) -> dict[str, int]:
        """How many answers were judged, by review."""
        sql = """SELECT review, count(DISTINCT inference_id) AS n FROM feedback
                 WHERE model = ? AND review IS NOT NULL GROUP BY 1"""
        return {str(row["review"]): row["n"] for row in self._facts(sql, [model])}

    def approval_until(self, model: str, version: str, until: datetime) -> tuple[float, int]:
        """Sum and number of rewards of the rated sessions that ended before a moment."""
        row = self._facts(APPROVAL_SQL, {"model": model, "version": version, "until": until})[0]
        return row["total"], row["n"]

    def trace(self, model: str, version: str, detector: str, until: datetime, limit: int = 2000) -> list[Fact]:
        """A detector's evidence, in units of its threshold, after each of the sessions up to a moment. `detector`: a
        name in TRACES."""
        table, column = TRACES[detector]
        values = {"model": model, "version": version, "until": until, "limit": limit}
        return self._facts(TRACE_SQL.format(table=table, column=column), values)

    def replicas(self) -> list[Fact]:
        """The latest report of each replica."""
        sql = (
            "SELECT * FROM replicas QUALIFY row_number() OVER (PARTITION BY replica ORDER BY time DESC) = 1 ORDER BY 1"
        )
        return [{**row, "value": json.loads(row["value"])} for row in self._facts(sql)]

    def dead_letters(self, limit: int = 50) -> list[Fact]:
        """The latest dead letters, with the time at which each was retried, if it was."""
        return self._facts(f"{LETTERS_SQL} ORDER BY time DESC LIMIT ?", [limit])

    def interaction(self, inference_id: str, moment: Moment | None = None) -> Fact | None:
        """One answer with the feedback on it, now or as it was known at a moment; None when it is not known."""
        known, values = as_of.known(moment)
        of_answer, _ = as_of.known(moment, "a")
        values = {"id": inference_id, **values}
        found = self._facts(as_of.INTERACTION_SQL.format(known=known, of_answer=of_answer), values)
        if not found:
            return None
        answer = {**found[0], "messages": json.loads(found[0]["messages"])}
        return answer | {"feedback_events": self._facts(as_of.FEEDBACK_SQL.format(known=known), values)}

    def _all_time(self, sql: str, values: Fact) -> list[Fact]:
        """A question to ALL_TIME_SQL's facts."""
        with self.cursors.snapshot() as cursor:
            beyond = rollups.beyond(rollups.marks(cursor, EVIDENCE))
            return facts(cursor, ALL_TIME_SQL.format(beyond=beyond) + sql, values)

    def _facts(self, sql: str, values: object = None) -> list[Fact]:
        with self.cursors.one() as cursor:
            return facts(cursor, sql, values)


def _sum(one: Fact, other: Fact) -> Fact:
    """Two rows of one hour; counts by bucket add up, too."""

    def total(a: Any, b: Any) -> Any:
        return {k: a.get(k, 0) + b.get(k, 0) for k in a.keys() | b.keys()} if isinstance(a, dict) else a + b

    return {name: one[name] if name in USAGE_KEY else total(one[name], other[name]) for name in one}
