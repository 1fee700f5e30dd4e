"""How long rows are kept, by table. Evidence, the detector's steps and control events are never deleted: decisions were
made from them. Rollups of what is deleted stay."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import duckdb

from pawl_monitor.storage import rollups

# Table: the setting that says how long, and the column of its time. Text and its scores go together.
TABLES: Mapping[str, tuple[str, str]] = {
    "answers": ("interactions", "time"),
    "feedback": ("interactions", "time"),
    "scores": ("interactions", "time"),
    "replicas": ("replicas", "time"),
    "dead_letters": ("dead_letters", "time"),
    "pawl_seen": ("seen", "hour"),
}


def expire(
    cursor: duckdb.DuckDBPyConnection, now: datetime, kept: Mapping[str, timedelta | None], steps: int = 24
) -> int:
    """Delete the oldest hours beyond their time, at most `steps` of each table, each in a transaction of its own.

    Args:
        kept: for each setting named in TABLES how long; None: for ever.

    Returns: how many rows were deleted.
    """
    if any(kept[setting] is not None for setting, _ in TABLES.values()):
        rollups.roll(cursor)  # what goes must be in the rollups before
    return sum(
        _expire_table(cursor, table, column, now - age, steps)
        for table, (setting, column) in TABLES.items()
        if (age := kept[setting]) is not None
    )


def _expire_table(cursor: duckdb.DuckDBPyConnection, table: str, column: str, before: datetime, steps: int) -> int:
    end = before.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    deleted = 0
    for _ in range(steps):
        sql = f"SELECT min({column}) FROM {table} WHERE {column} < ?"  # noqa: S608
        (oldest,) = cursor.execute(sql, [end]).fetchone() or (None,)
        if oldest is None:
            break
        until = min(oldest.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + rollups.HOUR, end)
        deleted += _delete(cursor, table, column, until)
    return deleted


def _delete(cursor: duckdb.DuckDBPyConnection, table: str, column: str, until: datetime) -> int:
    cursor.execute("BEGIN")
    try:
        found = cursor.execute(f"DELETE FROM {table} WHERE {column} < ?", [until]).fetchone()  # noqa: S608
        sql = (
            "INSERT INTO kept_since VALUES (?, ?) ON CONFLICT DO UPDATE SET moment = greatest(moment, excluded.moment)"
        )
        cursor.execute(sql, [table, until])
        cursor.execute("COMMIT")
    except BaseException:
        cursor.execute("ROLLBACK")
        raise
    return int(found[0]) if found else 0
