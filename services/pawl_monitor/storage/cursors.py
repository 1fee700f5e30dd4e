"""Cursors of the monitor's own database, and rows as plain values.

No other process can open the file while the monitor has it, and a connection must not be shared between threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

Fact = dict[str, Any]


class Cursors:
    """Hands out cursors of one database; each belongs to the thread that asked for it until it is closed."""

    def __init__(self, root: duckdb.DuckDBPyConnection) -> None:
        self._root, self._lock = root, threading.Lock()

    def __call__(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            return self._root.cursor()

    @contextmanager
    def one(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of this thread's own."""
        cursor = self()
        try:
            yield cursor
        finally:
            cursor.close()

    @contextmanager
    def snapshot(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor that sees one state of the database, whatever is committed meanwhile."""
        with self.one() as cursor:
            cursor.execute("BEGIN")
            try:
                yield cursor
            finally:
                cursor.execute("ROLLBACK")

    def close(self) -> None:
        """Close the database; cursors must be closed before."""
        with self._lock:
            self._root.close()


def facts(cursor: duckdb.DuckDBPyConnection, sql: str, values: object = None) -> list[Fact]:
    """The rows of a question, by column."""
    result = cursor.execute(sql, values)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
