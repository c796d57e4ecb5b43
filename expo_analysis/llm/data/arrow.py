"""Columns of Arrow types that `datasets` has not, such as maps and UUIDs: none keeps a file from being read."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from datasets.features.features import generate_from_arrow_type

from .table import column_of_values


def with_known_types(table: pa.Table) -> pa.Table:
    """A table whose columns `datasets` can hold; those that it cannot become what JSON would make of them.

    A map becomes a mapping, a list view a list, and what JSON has not, such as a UUID, its text. All other columns stay
    as they are.
    """
    for place, field in enumerate(table.schema):
        if not _is_known(field.type):
            values = python_values(table.column(place))
            table = table.set_column(place, field.name, column_of_values(field.name, values))
    return table


def python_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The values of a column, as JSON has them where `datasets` has not their type: a mapping for each map."""
    try:
        values = column.to_pylist(maps_as_pydicts="strict")
    except KeyError:  # a map that has a key twice, which stays a list of keys with values
        values = column.to_pylist()
    if isinstance(column.type, pa.JsonType):
        return [None if text is None else json.loads(text) for text in values]
    return values if _is_known(column.type) else [_plain(value) for value in values]


def _is_known(kind: pa.DataType) -> bool:
    try:
        generate_from_arrow_type(kind)
    except ValueError:
        return False
    return True


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
