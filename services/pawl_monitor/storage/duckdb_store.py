"""The monitor's database file: opening it, and its migrations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import duckdb

from pawl_shared.errors import ConfigurationError

NUMBERED = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
HOLDER = re.compile(r"\(PID (\d+)\)")


class DatabaseInUseError(ConfigurationError):
    """Another process has the database open; `holder` says which."""

    def __init__(self, path: Path, reason: str) -> None:
        found = HOLDER.search(reason)
        self.holder = f"process {found[1]}" if found else "another process"
        super().__init__(f"{self.holder} has {path} open, and only one monitor can: stop that one first")


def open_database(path: Path | None) -> duckdb.DuckDBPyConnection:
    """Open (or create) the file and bring its tables up to date; None: a database in memory.

    Raises:
        DatabaseInUseError: another process has the file open.
        ConfigurationError: it cannot be opened, or a newer version of Pawl wrote it.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = duckdb.connect(":memory:" if path is None else str(path))
    except duckdb.IOException as error:
        if path is not None and "lock" in str(error):
            raise DatabaseInUseError(path, str(error)) from error
        raise ConfigurationError(f"cannot open {path}: {error}") from error
    # The WAL is replayed at start, so its size bounds the restart time.
    connection.execute("SET memory_limit = '1GB'; SET threads = 2; SET checkpoint_threshold = '32MB'")
    connection.execute("SET TimeZone = 'UTC'")
    migrate(connection, shipped_migrations())
    return connection


def shipped_migrations() -> list[tuple[int, str]]:
    """(number, SQL) of every migration in this package, in order."""
    folder = resources.files("pawl_monitor.storage") / "migrations"
    found = ((NUMBERED.match(entry.name), entry) for entry in folder.iterdir())
    return sorted((int(match[1]), entry.read_text()) for match, entry in found if match)


def migrate(connection: duckdb.DuckDBPyConnection, migrations: Iterable[tuple[int, str]]) -> list[int]:
    """Apply those that are missing, each in a transaction with its mark; answers their numbers.

    Raises:
        ConfigurationError: the database has migrations that this version does not know.
    """
    migrations = list(migrations)
    connection.execute("CREATE TABLE IF NOT EXISTS pawl_migrations(number INTEGER PRIMARY KEY, applied TIMESTAMPTZ)")
    applied = {number for (number,) in connection.execute("SELECT number FROM pawl_migrations").fetchall()}
    if unknown := applied - {number for number, _ in migrations}:
        raise ConfigurationError(f"a newer version of Pawl wrote this database (migration {max(unknown)}): update Pawl")
    missing = [(number, sql) for number, sql in migrations if number not in applied]
    for number, sql in missing:
        connection.execute("BEGIN")
        try:
            connection.execute(sql)
            connection.execute("INSERT INTO pawl_migrations VALUES (?, now())", [number])
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    return [number for number, _ in missing]
