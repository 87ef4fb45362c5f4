"""The Parquet tables of a snapshot: their columns, and rows that are what the columns say or are refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.contract.errors import SnapshotError

_TEXT_LIST = pa.list_(pa.string())
CONDITION_SCHEMA = pa.schema(
    [
        ("condition_id", pa.string()), ("subject_id", pa.string()), ("split", pa.string()), ("prompt", pa.string()),
        ("image", pa.string()), ("mask", pa.string()), ("width", pa.int32()), ("height", pa.int32()),
        ("spec", pa.string()),
    ]
)  # fmt: skip
PAIR_SCHEMA = pa.schema(
    [
        ("pair_id", pa.string()), ("condition_id", pa.string()), ("win", pa.string()), ("lose", pa.string()),
        ("win_candidate", pa.string()), ("lose_candidate", pa.string()), ("p_win", pa.float64()),
        ("reasons", _TEXT_LIST), ("judgments", _TEXT_LIST), ("annotators", pa.int32()),
        ("win_seed", pa.int64()), ("lose_seed", pa.int64()),
    ]
)  # fmt: skip
WINNER_SCHEMA = pa.schema(
    [("condition_id", pa.string()), ("image", pa.string()), ("candidate", pa.string()), ("p_win", pa.float64())]
)
LATER_COLUMNS = frozenset({"win_seed", "lose_seed"})
"""Columns that snapshots of format version 1 may lack: they read as null."""
MAY_BE_NULL = LATER_COLUMNS | {"spec", "reasons", "judgments"}


def write_table(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as the table `path`."""
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def read_rows(folder: Path, name: str, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """The rows of the table `name` by `schema`: types as there, `spec` parsed, lists as tuples.

    Raises SnapshotError naming the table and column, and the row (from 0) where it is one row's.
    """
    lists = [field.name for field in schema if pa.types.is_list(field.type)]
    for index, row in enumerate(_read(folder, name, schema).to_pylist()):
        place = f"{name} row {index} ({row[schema.names[0]]})"
        if lost := [column for column, value in row.items() if value is None and column not in MAY_BE_NULL]:
            raise SnapshotError("value_missing", f"{place}: {lost[0]} is null, but every row needs one.")
        for column in lists:
            row[column] = tuple(row[column] or ())
            if None in row[column]:
                raise SnapshotError("value_missing", f"{place}: {column} holds a null, leave it out.")
        if row.get("spec") is not None:
            row["spec"] = _spec(row["spec"], place)
        yield row


def _read(folder: Path, name: str, schema: pa.Schema) -> pa.Table:
    try:
        with (folder / name).open("rb") as file:  # given a folder's path, pyarrow would gather the tables in it
            table = pq.read_table(file)
    except FileNotFoundError:
        raise SnapshotError("file_missing", f"{name} is missing from the snapshot.") from None
    except (pa.ArrowException, OSError) as error:
        raise SnapshotError("table_damaged", f"{name} cannot be read as Parquet: {error}.") from error
    columns = {}
    for field in schema:
        if field.name in table.column_names:
            columns[field.name] = _cast(table.column(field.name), field, name)
        elif field.name not in LATER_COLUMNS:
            raise SnapshotError("column_missing", f"{name} lacks the column {field.name}.")
    return pa.table(columns)


def _cast(column: pa.ChunkedArray, field: pa.Field, name: str) -> pa.ChunkedArray:
    try:
        return column.cast(field.type)
    except pa.ArrowException as error:
        words = " ".join(str(error).split())
        raise SnapshotError(
            "column_type", f"{name}: the column {field.name} is {column.type}, it must be {field.type}: {words}."
        ) from error


def _spec(text: str, place: str) -> dict[str, Any] | None:
    try:
        spec = json.loads(text) if text else None
    except ValueError as error:
        raise SnapshotError("spec_invalid", f"{place}: spec is not valid JSON: {error}.") from error
    if spec is not None and not isinstance(spec, dict):
        raise SnapshotError("spec_invalid", f"{place}: spec is {text[:40]}, it must be a JSON object or null.")
    return spec
