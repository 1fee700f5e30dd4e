"""The transactional store in a DuckDB file: rows, offsets, state and an outbox in one transaction.

The offset update compares with what this instance last wrote, so an instance that lost its partitions cannot write.
Rows go in through Arrow: 50-100k rows/s; executemany does 400. A statement costs about as much as 50 rows of it, so
what has nothing to do is not asked: an idle Tick is five statements. Messages that wait are kept in memory, too: this
is their only writer.
"""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from pawl_shared.buses.port import Message, Partition
from pawl_shared.errors import FencedError
from pawl_shared.packed import pack, unpack
from pawl_shared.stores import arrow_columns
from pawl_shared.stores.key_filter import Hashes, KeyFilter
from pawl_shared.stores.port import Commit, Effect, Row, Seen, StateKey, StoredState, TransactionalStore

SCHEMA = """
CREATE TABLE IF NOT EXISTS pawl_offsets(topic VARCHAR, part INTEGER, next_offset BIGINT, PRIMARY KEY(topic, part));
CREATE TABLE IF NOT EXISTS pawl_state(
  fold VARCHAR, key VARCHAR, value VARCHAR, due TIMESTAMPTZ, PRIMARY KEY(fold, key));
CREATE TABLE IF NOT EXISTS pawl_seen(hour TIMESTAMPTZ, id UUID);
CREATE TABLE IF NOT EXISTS pawl_effects(number BIGINT, id UUID PRIMARY KEY, kind VARCHAR, payload VARCHAR);
CREATE TABLE IF NOT EXISTS pawl_outbox(number BIGINT, message BLOB);
CREATE SEQUENCE IF NOT EXISTS pawl_numbers;
"""
# In older databases messages wait as text: [topic, key, value, headers].
OLD_OUTBOX_SQL = "SELECT 1 FROM duckdb_columns() WHERE table_name = 'pawl_outbox' AND data_type = 'VARCHAR'"
PACK_OUTBOX_SQL = """
ALTER TABLE pawl_outbox ALTER message TYPE BLOB USING encode(json_object('topic', message::JSON->0,
  'key', message::JSON->1, 'headers', message::JSON->3)::VARCHAR || chr(10)) || from_base64(message::JSON->>2)
"""
MOVE_SQL = """
UPDATE pawl_offsets o SET next_offset = w.next FROM wanted w
WHERE o.topic = w.topic AND o.part = w.part AND o.next_offset = w.expected
"""
FIRST_SQL = "INSERT OR IGNORE INTO pawl_offsets SELECT topic, part, next FROM wanted"
# The hour comes first: zone maps then skip everything but the hours in question, however old they are.
SEEN_SQL = "SELECT s.hour, s.id FROM pawl_seen s JOIN wanted w ON s.hour = w.hour AND s.id = w.id"
LOAD_SQL = "SELECT s.fold, s.key, s.value, s.due FROM pawl_state s JOIN wanted USING (fold, key)"
STALE = 100_000  # the filter of keys is made anew when it has so many, and a half, that are deleted
NEVER = datetime.max.replace(tzinfo=UTC)


class DuckDbStore(TransactionalStore):
    """On an open connection, which stays its owner's; other threads read through cursors of their own."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._con = connection
        self._reading = connection.cursor()  # what is asked while a commit is made
        self._timers = threading.Lock()  # what is due, and what was committed, do not change while it is held
        self._expected: dict[Partition, int | None] = {}
        self._types: dict[str, dict[str, pa.DataType]] = {}
        self._earliest: dict[str, datetime] = {}  # no timer of the fold is due before
        self._filter = KeyFilter(np.empty(0, np.uint64))
        self._deleted = 0  # states whose keys the filter still has
        self._waiting: dict[int, Message] = {}
        self._number = 0  # of the latest message
        self._forget = 0  # messages up to this number are sent; they leave the outbox with the next commit

    def open(self) -> None:
        self._con.execute(SCHEMA)
        if self._con.execute(OLD_OUTBOX_SQL).fetchone():
            self._con.execute(PACK_OUTBOX_SQL)
        self._earliest, self._forget = {}, 0
        self._make_filter()
        rows = self._con.execute("SELECT number, message FROM pawl_outbox ORDER BY number").fetchall()
        self._waiting = {number: unpack(packed) for number, packed in rows}
        self._number = max(self._waiting, default=0)

    def positions(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        rows = self._con.execute("SELECT topic, part, next_offset FROM pawl_offsets").fetchall()
        stored = {Partition(topic, part): offset for topic, part, offset in rows}
        self._expected.update({part: stored.get(part) for part in partitions})
        return {part: stored[part] for part in partitions if part in stored}

    def load(self, keys: Sequence[StateKey]) -> dict[StateKey, StoredState]:
        maybe = self._filter.may_hold(_hashes(self._reading, "wanted", _key_table(keys)))
        asked = [key for key, known in zip(keys, maybe.tolist(), strict=True) if known]
        rows = _query(self._reading, LOAD_SQL, _key_table(asked)) if asked else []
        return {StateKey(fold, key): StoredState(value, _utc(due)) for fold, key, value, due in rows}

    def _make_filter(self) -> None:
        self._filter, self._deleted = KeyFilter(_hashes(self._con, "pawl_state")), 0

    def due(self, fold: str, now: datetime) -> list[str]:
        with self._timers:
            if now < self._earliest.get(fold, now):
                return []
            sql = "SELECT key FROM pawl_state WHERE fold = ? AND due <= ? ORDER BY due, key"
            found = [row[0] for row in self._reading.execute(sql, [fold, now]).fetchall()]
            if not found:
                sql = "SELECT min(due) FROM pawl_state WHERE fold = ?"
                (next_due,) = self._reading.execute(sql, [fold]).fetchone() or (None,)
                self._earliest[fold] = _utc(next_due) or NEVER
            return found

    def seen(self, ids: Sequence[Seen]) -> set[Seen]:
        wanted = _seen_table(ids)
        return {Seen(hour.astimezone(UTC), identity) for hour, identity in _query(self._reading, SEEN_SQL, wanted)}

    def effects(self) -> list[Effect]:
        rows = self._con.execute("SELECT id, kind, payload FROM pawl_effects ORDER BY number").fetchall()
        return [Effect(*row) for row in rows]

    def commit(self, commit: Commit) -> None:
        numbered = dict(enumerate(commit.messages, self._number + 1))
        self._con.execute("BEGIN")
        try:
            self._write(commit, numbered)
            with self._timers:
                self._con.execute("COMMIT")
                self._note_due(commit.states)
        except BaseException:
            self._con.execute("ROLLBACK")
            raise
        self._expected.update(commit.offsets)
        if self._deleted > max(STALE, len(self._filter) // 2):
            self._make_filter()
        self._waiting.update(numbered)
        self._number += len(numbered)
        self._forget = 0

    def _note_due(self, states: Mapping[StateKey, StoredState | None]) -> None:
        for key, state in states.items():
            if state is not None and state.due is not None and key.fold in self._earliest:
                self._earliest[key.fold] = min(self._earliest[key.fold], state.due)

    def outgoing(self, limit: int) -> list[tuple[int, Message]]:
        return list(itertools.islice(self._waiting.items(), limit))

    def sent(self, through: int) -> None:
        # A transaction of its own would cost as much as all else that a small commit does. Until the next one a crash
        # has them sent again, which changes nothing.
        self._forget = max(self._forget, through)
        for number in list(itertools.takewhile(lambda n: n <= through, self._waiting)):
            del self._waiting[number]

    def close(self) -> None:
        """The connection is its owner's."""
        if self._forget:
            self._forget_sent()
        self._reading.close()

    # ------------------------------------------------------------ inside the transaction

    def _write(self, commit: Commit, numbered: Mapping[int, Message]) -> None:
        self._advance(commit.offsets)
        self._write_states(commit.states)
        self._write_rows(commit.rows)
        if commit.seen:
            _query(self._con, "INSERT INTO pawl_seen SELECT hour, id FROM wanted", _seen_table(commit.seen))
        if self._forget:
            self._forget_sent()
        if numbered:
            packed = pa.array([pack(message) for message in numbered.values()], pa.binary())
            columns = {"number": list(numbered), "message": packed}
            _query(self._con, "INSERT INTO pawl_outbox SELECT number, message FROM wanted", pa.table(columns))
        for effect in commit.effects:
            sql = "INSERT OR IGNORE INTO pawl_effects VALUES (nextval('pawl_numbers'), ?, ?, ?)"
            self._con.execute(sql, [effect.id, effect.kind, effect.payload])
        for done in commit.done:
            self._con.execute("DELETE FROM pawl_effects WHERE id = ?", [done])

    def _forget_sent(self) -> None:
        self._con.execute("DELETE FROM pawl_outbox WHERE number <= ?", [self._forget])

    def _advance(self, offsets: Mapping[Partition, int]) -> None:
        """Move every offset from where this instance left it; all of them, or another instance reads there now."""
        for sql, known in ((MOVE_SQL, True), (FIRST_SQL, False)):
            parts = [part for part in offsets if (self._expected.get(part) is not None) == known]
            if not parts:
                continue
            columns = {
                "topic": pa.array([part.topic for part in parts], pa.string()),
                "part": pa.array([part.number for part in parts], pa.int32()),
                "next": pa.array([offsets[part] for part in parts], pa.int64()),
                "expected": pa.array([self._expected.get(part) for part in parts], pa.int64()),
            }
            if _query(self._con, sql, pa.table(columns)) != [(len(parts),)]:
                names = ", ".join(f"{part.topic}/{part.number}" for part in parts)
                raise FencedError(f"one of {names} moved on without this instance: another one reads it now")

    def _write_states(self, states: Mapping[StateKey, StoredState | None]) -> None:
        gone = [key for key, state in states.items() if state is None]
        kept = [(key, state) for key, state in states.items() if state is not None]
        if gone:
            sql = "DELETE FROM pawl_state s USING wanted w WHERE s.fold = w.fold AND s.key = w.key"
            _query(self._con, sql, _key_table(gone))
            self._deleted += len(gone)
        if kept:
            columns = {
                "fold": [k.fold for k, _ in kept],
                "key": [k.key for k, _ in kept],
                "value": [s.value for _, s in kept],
                "due": pa.array([s.due for _, s in kept], arrow_columns.TIME),
            }
            wanted = pa.table(columns)
            _query(self._con, "INSERT OR REPLACE INTO pawl_state SELECT fold, key, value, due FROM wanted", wanted)
            self._filter.add(_hashes(self._con, "wanted", wanted))

    def _write_rows(self, rows: Sequence[Row]) -> None:
        tables: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        columns: dict[str, tuple[str, ...]] = {}
        for table, names, values in rows:
            tables[table].append(values)
            columns[table] = names
        for table, content in tables.items():
            if table not in self._types:
                self._types[table] = arrow_columns.types_of(self._con, table)
            wanted = arrow_columns.table_of(columns[table], content, self._types[table])
            _query(self._con, f'INSERT INTO "{table}" BY NAME SELECT * FROM wanted', wanted)  # noqa: S608


def _query(con: duckdb.DuckDBPyConnection, sql: str, wanted: pa.Table) -> list[tuple[Any, ...]]:  # noqa: ARG001
    """Run `sql`, in which the Arrow table stands as `wanted`.

    DuckDB finds it among the variables of who calls it. To register and to unregister it took as long as a statement.
    """
    return con.execute(sql).fetchall()


def _hashes(con: duckdb.DuckDBPyConnection, table: str, wanted: pa.Table | None = None) -> Hashes:  # noqa: ARG001
    """Of the keys in a table of states, or in `wanted`."""
    found: Hashes = con.execute(f"SELECT hash(fold, key) AS h FROM {table}").fetchnumpy()["h"]  # noqa: S608
    return found


def _key_table(keys: Sequence[StateKey]) -> pa.Table:
    return pa.table({"fold": [key.fold for key in keys], "key": [key.key for key in keys]})


def _seen_table(ids: Sequence[Seen]) -> pa.Table:
    hours = pa.array([seen.hour for seen in ids], arrow_columns.TIME)
    return pa.table({"hour": hours, "id": arrow_columns.uuids([seen.id for seen in ids])})


def _utc(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)
