"""Rows as Arrow columns with the types of a DuckDB table, so that nothing is guessed and ids travel as 16 bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa

from pawl_shared.errors import ConfigurationError

TIME = pa.timestamp("us", "UTC")
TYPES: Mapping[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "BLOB": pa.binary(),
    "BOOLEAN": pa.bool_(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "UUID": pa.uuid(),
    "TIMESTAMP WITH TIME ZONE": TIME,
}


def types_of(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, pa.DataType]:
    """The columns of a table.

    Raises:
        ConfigurationError: there is no such table.
    """
    sql = "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? AND NOT internal"
    found = connection.execute(sql, [table]).fetchall()
    if not found:
        raise ConfigurationError(f"the database has no table {table!r}: a migration for it is missing")
    return {name: TYPES[kind] for name, kind in found}


def table_of(names: Sequence[str], rows: Sequence[Sequence[Any]], types: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows with these columns, as an Arrow table. Raises ValueError where rows differ in length."""
    columns = zip(*rows, strict=True)
    return pa.table({name: _array(values, types[name]) for name, values in zip(names, columns, strict=True)})


def uuids(values: Sequence[UUID | None]) -> pa.Array[Any]:
    """Ids as 16 bytes each."""
    content = [None if value is None else value.int.to_bytes(16, "big") for value in values]  # .bytes takes longer
    return pa.ExtensionArray.from_storage(pa.uuid(), pa.array(content, pa.binary(16)))


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array[Any]:
    return uuids(values) if kind == TYPES["UUID"] else pa.array(values, kind)
