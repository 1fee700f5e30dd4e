"""The transactional store in a DuckDB file: rows, offsets, state and an outbox in one transaction.

The offset update compares with what this instance last wrote, so an instance that lost its partitions cannot write.
Rows go in through Arrow: 50-100k rows/s; executemany does 400. A statement costs about as much as 50 rows of it, so
what has nothing to do is not asked: an idle Tick is five statements.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from pawl_shared.bus import Message, Partition
from pawl_shared.errors import FencedError
from pawl_shared.stores import arrow_columns
from pawl_shared.stores.port import Commit, Effect, Row, Seen, StateKey, StoredState, TransactionalStore

SCHEMA = """
CREATE TABLE IF NOT EXISTS pawl_offsets(topic VARCHAR, part INTEGER, next_offset BIGINT, PRIMARY KEY(topic, part));
CREATE TABLE IF NOT EXISTS pawl_state(
  fold VARCHAR, key VARCHAR, value VARCHAR, due TIMESTAMPTZ, PRIMARY KEY(fold, key));
CREATE TABLE IF NOT EXISTS pawl_seen(hour TIMESTAMPTZ, id UUID);
CREATE TABLE IF NOT EXISTS pawl_effects(number BIGINT, id UUID PRIMARY KEY, kind VARCHAR, payload VARCHAR);
CREATE TABLE IF NOT EXISTS pawl_outbox(number BIGINT, message VARCHAR);
CREATE SEQUENCE IF NOT EXISTS pawl_numbers;
"""
MOVE_SQL = """
UPDATE pawl_offsets o SET next_offset = w.next FROM wanted w
WHERE o.topic = w.topic AND o.part = w.part AND o.next_offset = w.expected
"""
FIRST_SQL = "INSERT OR IGNORE INTO pawl_offsets SELECT topic, part, next FROM wanted"
# The hour comes first: zone maps then skip everything but the hours in question, however old they are.
SEEN_SQL = "SELECT s.hour, s.id FROM pawl_seen s JOIN wanted w ON s.hour = w.hour AND s.id = w.id"
NEVER = datetime.max.replace(tzinfo=UTC)


class DuckDbStore(TransactionalStore):
    """On an open connection, which stays its owner's; other threads read through cursors of their own."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._con = connection
        self._expected: dict[Partition, int | None] = {}
        self._types: dict[str, dict[str, pa.DataType]] = {}
        self._queued = True  # whether the outbox may hold something
        self._earliest: dict[str, datetime] = {}  # no timer of the fold is due before

    def open(self) -> None:
        self._con.execute(SCHEMA)
        self._queued, self._earliest = True, {}

    def positions(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        rows = self._con.execute("SELECT topic, part, next_offset FROM pawl_offsets").fetchall()
        stored = {Partition(topic, part): offset for topic, part, offset in rows}
        self._expected.update({part: stored.get(part) for part in partitions})
        return {part: stored[part] for part in partitions if part in stored}

    def load(self, keys: Sequence[StateKey]) -> dict[StateKey, StoredState]:
        wanted = pa.table({"fold": [k.fold for k in keys], "key": [k.key for k in keys]})
        rows = self._query(
            "SELECT s.fold, s.key, s.value, s.due FROM pawl_state s JOIN wanted USING (fold, key)", wanted
        )
        return {StateKey(fold, key): StoredState(value, _utc(due)) for fold, key, value, due in rows}

    def due(self, fold: str, now: datetime) -> list[str]:
        if now < self._earliest.get(fold, now):
            return []
        sql = "SELECT key FROM pawl_state WHERE fold = ? AND due <= ? ORDER BY due, key"
        found = [row[0] for row in self._con.execute(sql, [fold, now]).fetchall()]
        if not found:
            sql = "SELECT min(due) FROM pawl_state WHERE fold = ?"
            (next_due,) = self._con.execute(sql, [fold]).fetchone() or (None,)
            self._earliest[fold] = _utc(next_due) or NEVER
        return found

    def seen(self, ids: Sequence[Seen]) -> set[Seen]:
        wanted = _seen_table(ids)
        return {Seen(hour.astimezone(UTC), identity) for hour, identity in self._query(SEEN_SQL, wanted)}

    def effects(self) -> list[Effect]:
        rows = self._con.execute("SELECT id, kind, payload FROM pawl_effects ORDER BY number").fetchall()
        return [Effect(*row) for row in rows]

    def commit(self, commit: Commit) -> None:
        self._con.execute("BEGIN")
        try:
            self._write(commit)
            self._con.execute("COMMIT")
        except BaseException:
            self._con.execute("ROLLBACK")
            raise
        self._expected.update(commit.offsets)
        self._queued = self._queued or bool(commit.messages)
        for key, state in commit.states.items():
            if state is not None and state.due is not None and key.fold in self._earliest:
                self._earliest[key.fold] = min(self._earliest[key.fold], state.due)

    def outgoing(self, limit: int) -> list[tuple[int, Message]]:
        if not self._queued:
            return []
        sql = "SELECT number, message FROM pawl_outbox ORDER BY number LIMIT ?"
        found = [(number, _message(text)) for number, text in self._con.execute(sql, [limit]).fetchall()]
        self._queued = bool(found)
        return found

    def sent(self, through: int) -> None:
        self._con.execute("DELETE FROM pawl_outbox WHERE number <= ?", [through])

    def close(self) -> None:
        """The connection is its owner's."""

    # ------------------------------------------------------------ inside the transaction

    def _write(self, commit: Commit) -> None:
        self._advance(commit.offsets)
        self._write_states(commit.states)
        self._write_rows(commit.rows)
        if commit.seen:
            self._query("INSERT INTO pawl_seen SELECT hour, id FROM wanted", _seen_table(commit.seen))
        if commit.messages:
            texts = pa.table({"message": [_text(message) for message in commit.messages]})
            self._query("INSERT INTO pawl_outbox SELECT nextval('pawl_numbers'), message FROM wanted", texts)
        for effect in commit.effects:
            sql = "INSERT OR IGNORE INTO pawl_effects VALUES (nextval('pawl_numbers'), ?, ?, ?)"
            self._con.execute(sql, [effect.id, effect.kind, effect.payload])
        for done in commit.done:
            self._con.execute("DELETE FROM pawl_effects WHERE id = ?", [done])

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
            if self._query(sql, pa.table(columns)) != [(len(parts),)]:
                names = ", ".join(f"{part.topic}/{part.number}" for part in parts)
                raise FencedError(f"one of {names} moved on without this instance: another one reads it now")

    def _write_states(self, states: Mapping[StateKey, StoredState | None]) -> None:
        gone = [key for key, state in states.items() if state is None]
        kept = [(key, state) for key, state in states.items() if state is not None]
        if gone:
            wanted = pa.table({"fold": [k.fold for k in gone], "key": [k.key for k in gone]})
            self._query("DELETE FROM pawl_state s USING wanted w WHERE s.fold = w.fold AND s.key = w.key", wanted)
        if kept:
            columns = {
                "fold": pa.array([k.fold for k, _ in kept]),
                "key": pa.array([k.key for k, _ in kept]),
                "value": pa.array([s.value for _, s in kept]),
                "due": pa.array([s.due for _, s in kept], pa.timestamp("us", "UTC")),
            }
            self._query("INSERT OR REPLACE INTO pawl_state SELECT fold, key, value, due FROM wanted", pa.table(columns))

    def _write_rows(self, rows: Sequence[Row]) -> None:
        tables: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in rows:
            tables[row.table].append(row.values)
        for table, values in tables.items():
            if table not in self._types:
                self._types[table] = arrow_columns.types_of(self._con, table)
            wanted = arrow_columns.table_of(values, self._types[table])
            self._query(f'INSERT INTO "{table}" BY NAME SELECT * FROM wanted', wanted)  # noqa: S608

    def _query(self, sql: str, wanted: pa.Table) -> list[tuple[Any, ...]]:
        """Run `sql`, in which the Arrow table stands as `wanted`."""
        self._con.register("wanted", wanted)
        try:
            return self._con.execute(sql).fetchall()
        finally:
            self._con.unregister("wanted")


def _seen_table(ids: Sequence[Seen]) -> pa.Table:
    hours = pa.array([seen.hour for seen in ids], arrow_columns.TIME)
    return pa.table({"hour": hours, "id": arrow_columns.uuids([seen.id for seen in ids])})


def _text(message: Message) -> str:
    def base64(content: bytes | None) -> str | None:
        return None if content is None else b64encode(content).decode()

    headers = [[name, base64(value)] for name, value in message.headers]
    return json.dumps([message.topic, base64(message.key), base64(message.value), headers])


def _message(text: str) -> Message:
    topic, key, value, headers = json.loads(text)
    decoded = tuple((name, b64decode(content)) for name, content in headers)
    return Message(topic, None if key is None else b64decode(key), None if value is None else b64decode(value), decoded)


def _utc(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)
