"""The database as a file of its own, copied in one transaction while everything goes on; and its way back.

Only the monitor can read its database, so it makes the copy.
`python -m pawl_monitor.storage.backup DATABASE OFFSETS.json` makes a copy ready for a broker whose topics were
filled anew: records have other offsets there.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from pawl_monitor.storage import rollups
from pawl_monitor.storage.duckdb_store import open_database

Offsets = Mapping[str, Mapping[str, int]]
PLACED = ("answers", "feedback", "scores", "evidence", "detector", "records")


def offsets_of(cursor: duckdb.DuckDBPyConnection, database: str = "") -> dict[str, dict[str, int]]:
    """The next offset of every topic and partition that was read."""
    prefix = f"{database}." if database else ""
    found: dict[str, dict[str, int]] = {}
    sql = f"SELECT topic, part, next_offset FROM {prefix}pawl_offsets ORDER BY ALL"  # noqa: S608
    for topic, part, offset in cursor.execute(sql).fetchall():
        found.setdefault(topic, {})[str(part)] = offset
    return found


@contextmanager
def copied(cursor: duckdb.DuckDBPyConnection, folder: Path) -> Iterator[tuple[Path, dict[str, dict[str, int]]]]:
    """A copy of the database in a folder that is deleted afterwards, and the offsets up to which it knows."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="backup-", dir=folder) as parent:
        path = Path(parent) / "database.duckdb"
        (own,) = cursor.execute("SELECT current_database()").fetchone() or ("",)
        quoted = str(path).replace("'", "''")
        cursor.execute(f"ATTACH '{quoted}' AS pawl_copy")
        try:
            cursor.execute(f'COPY FROM DATABASE "{own}" TO pawl_copy')
            offsets = offsets_of(cursor, "pawl_copy")
        finally:
            cursor.execute("DETACH pawl_copy")
        yield path, offsets


def adapt(database: Path, offsets: Offsets) -> None:
    """Let a restored database go on from these offsets; topics that are not named begin anew.

    What rows say of their place is forgotten, since it means other records now.
    """
    connection = open_database(database)
    try:
        rollups.roll(connection)  # everything there is, before its place is forgotten
        connection.execute("BEGIN")
        for table in PLACED:
            connection.execute(f"UPDATE {table} SET part = NULL, position = NULL")  # noqa: S608
        connection.execute("DELETE FROM pawl_offsets")
        connection.execute("UPDATE rollup_marks SET next_offset = 0")
        for topic, parts in offsets.items():
            for part, offset in parts.items():
                connection.execute("INSERT INTO pawl_offsets VALUES (?, ?, ?)", [topic, int(part), offset])
                sql = "UPDATE rollup_marks SET next_offset = ? WHERE topic = ? AND part = ?"
                connection.execute(sql, [offset, topic, int(part)])
        connection.execute("COMMIT")
        connection.execute("CHECKPOINT")
    finally:
        connection.close()


if __name__ == "__main__":
    adapt(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))
