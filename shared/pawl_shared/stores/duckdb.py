"""The transactional store in a DuckDB file: rows, offsets, state and an outbox in one transaction.

The offset update compares with what this instance last wrote, so an instance that lost its partitions cannot write.
Rows go in through Arrow: 50-100k rows/s; executemany does 400.
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
from pawl_shared.stores.port import Commit, Effect, Seen, StateKey, StoredState, TransactionalStore

SCHEMA = """
CREATE TABLE IF NOT EXISTS pawl_offsets(topic VARCHAR, part INTEGER, next_offset BIGINT, PRIMARY KEY(topic, part));
CREATE TABLE IF NOT EXISTS pawl_state(
  fold VARCHAR, key VARCHAR, value VARCHAR, due TIMESTAMPTZ, PRIMARY KEY(fold, key));
CREATE TABLE IF NOT EXISTS pawl_seen(hour TIMESTAMPTZ, id UUID);
CREATE TABLE IF NOT EXISTS pawl_effects(number BIGINT, id UUID PRIMARY KEY, kind VARCHAR, payload VARCHAR);
CREATE TABLE IF NOT EXISTS pawl_outbox(number BIGINT, message VARCHAR);
CREATE SEQUENCE IF NOT EXISTS pawl_numbers;
"""


class DuckDbStore(TransactionalStore):
    """On an open connection, which stays its owner's; other threads read through cursors of their own."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._con = connection
        self._expected: dict[Partition, int | None] = {}

    def open(self) -> None:
        self._con.execute(SCHEMA)

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
        sql = "SELECT key FROM pawl_state WHERE fold = ? AND due <= ? ORDER BY due, key"
        return [row[0] for row in self._con.execute(sql, [fold, now]).fetchall()]

    def seen(self, ids: Sequence[Seen]) -> set[Seen]:
        wanted = pa.table({"hour": [s.hour for s in ids], "id": [str(s.id) for s in ids]})
        # The hour comes first: zone maps then skip everything but the hours in question, however old they are.
        sql = "SELECT s.hour, s.id FROM pawl_seen s JOIN wanted w ON s.hour = w.hour AND s.id = w.id::UUID"
        return {Seen(hour.astimezone(UTC), identity) for hour, identity in self._query(sql, wanted)}

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

    def outgoing(self, limit: int) -> list[tuple[int, Message]]:
        sql = "SELECT number, message FROM pawl_outbox ORDER BY number LIMIT ?"
        return [(number, _message(text)) for number, text in self._con.execute(sql, [limit]).fetchall()]

    def sent(self, through: int) -> None:
        self._con.execute("DELETE FROM pawl_outbox WHERE number <= ?", [through])

    def close(self) -> None:
        """The connection is its owner's."""

    # ------------------------------------------------------------ inside the transaction

    def _write(self, commit: Commit) -> None:
        for part, offset in commit.offsets.items():
            self._advance(part, offset)
        self._write_states(commit.states)
        tables: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in commit.rows:
            tables[row.table].append(row.values)
        for table, values in tables.items():
            self._query(f'INSERT INTO "{table}" BY NAME SELECT * FROM wanted', pa.Table.from_pylist(values))  # noqa: S608
        if commit.seen:
            ids = pa.table({"hour": [s.hour for s in commit.seen], "id": [str(s.id) for s in commit.seen]})
            self._query("INSERT INTO pawl_seen SELECT hour, id::UUID FROM wanted", ids)
        if commit.messages:
            texts = pa.table({"message": [_text(message) for message in commit.messages]})
            self._query("INSERT INTO pawl_outbox SELECT nextval('pawl_numbers'), message FROM wanted", texts)
        for effect in commit.effects:
            sql = "INSERT OR IGNORE INTO pawl_effects VALUES (nextval('pawl_numbers'), ?, ?, ?)"
            self._con.execute(sql, [effect.id, effect.kind, effect.payload])
        for done in commit.done:
            self._con.execute("DELETE FROM pawl_effects WHERE id = ?", [done])

    def _advance(self, part: Partition, offset: int) -> None:
        expected = self._expected.get(part)
        if expected is None:
            sql = "INSERT OR IGNORE INTO pawl_offsets VALUES (?, ?, ?)"
            changed = self._con.execute(sql, [*part, offset]).fetchone()
        else:
            sql = "UPDATE pawl_offsets SET next_offset = ? WHERE topic = ? AND part = ? AND next_offset = ?"
            changed = self._con.execute(sql, [offset, *part, expected]).fetchone()
        if changed != (1,):
            raise FencedError(f"{part.topic}/{part.number} moved on without this instance: another one reads it now")

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

    def _query(self, sql: str, wanted: pa.Table) -> list[tuple[Any, ...]]:
        """Run `sql`, in which the Arrow table stands as `wanted`."""
        self._con.register("wanted", wanted)
        try:
            return self._con.execute(sql).fetchall()
        finally:
            self._con.unregister("wanted")


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
