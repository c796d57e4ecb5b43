"""Reading tables (CSV) and objects of numbers (JSON), with the file, row or key in front of whatever is wrong.

Labels of responses and prompts are indices where they are exactly the integers 0 ... n-1, in any order of rows.
Otherwise they are names.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ._checks import did_you_mean
from ._types import Floats, Indices


def read_text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from None
    if not text.strip():
        raise ValueError(f"{path}: is empty")
    return text


def read_json_object(path: Path, what: str) -> dict[str, Any]:
    """One object, without keys that are given twice; all its numbers are floats. what: whose keys it should have."""
    text = read_text(path)
    try:
        # integers as floats, so that no number of digits is too many for numpy
        data = json.loads(text, parse_int=float, object_pairs_hook=without_duplicates)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: malformed JSON: {error.msg}, line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise ValueError(f"{path}: malformed JSON: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path}: must hold one JSON object, with the keys of {what}; got {kind(data)}")
    return data


def without_duplicates(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in items:
        if key in found:
            raise ValueError(f"the key {key!r} is given twice")
        found[key] = value
    return found


def check_numbers(path: Path, key: str, value: Any) -> None:
    """Raise unless ``value`` is an array of numbers, of any depth; numpy would take ``"0.4"`` and ``true`` for some."""
    if not isinstance(value, list):
        raise ValueError(f"{path}: {key} must be an array of numbers, got {kind(value)}")
    waiting = [value]
    while waiting:
        for item in waiting.pop():
            if isinstance(item, list):
                waiting.append(item)
            elif not isinstance(item, float):
                raise ValueError(f"{path}: {key} must be an array of numbers, but holds {kind(item)}")


def kind(value: Any) -> str:
    """A JSON value as it was written, or what it is where it has parts."""
    if isinstance(value, (list, dict)):
        return "an array" if isinstance(value, list) else "an object"
    return json.dumps(value)


def read_csv(path: Path) -> pd.DataFrame:
    """Every cell as a stripped string; the index is the row in the file, where the header is row 1."""
    text = read_text(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # cells beyond the header would be dropped
            table = pd.read_csv(
                io.StringIO(text), dtype=str, keep_default_na=False, index_col=False, skip_blank_lines=False
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise ValueError(f"{path}: malformed CSV: {error}") from None
    if len(table.columns) == 1:
        for separator, name in {";": "semicolons", "\t": "tabs", "|": "bars"}.items():
            if separator in table.columns[0]:
                raise ValueError(f"{path}: cells must be separated by commas, and these are by {name}")
    stems = table.columns.str.replace(r"\.\d+$", "", regex=True)  # pandas numbers what stands there again
    names = table.columns.where(~stems.isin(table.columns), stems).str.strip()
    if names.has_duplicates:
        raise ValueError(f"{path}: the column {names[names.duplicated()][0]!r} is given twice")
    table.columns = names
    table = table.fillna("").apply(lambda column: column.str.strip())
    table.index = pd.RangeIndex(2, len(table) + 2)
    table = table[(table != "").any(axis=1)]
    if table.empty:
        raise ValueError(f"{path}: has a header and no rows")
    return table


def check_columns(path: Path, table: pd.DataFrame, required: tuple[str, ...], optional: tuple[str, ...]) -> list[str]:
    """Raise unless the columns are there and filled, and no other is like one of them; those that are not read."""
    known = (*required, *optional)
    for column in required:
        if column not in table:
            raise ValueError(f"{path}: the column {column!r} is missing; the header has {listed(table.columns)}")
    unread = [column for column in table.columns if column not in known]
    for column in unread:
        close = did_you_mean(column, [name for name in known if name not in table])
        if close:
            raise ValueError(f"{path}: unknown column {column!r}; accepted: {listed(known)}{close}")
    for column in known:
        if column in table:
            refuse(path, table, table[column] == "", f"{column} must not be empty")
    return unread


def warn_of(path: Path, unread: list[str], *read: str) -> None:
    if unread:
        warnings.warn(f"{path}: not read: {listed(unread)}; read: {listed(read)}", stacklevel=2)


def numbers_of(path: Path, table: pd.DataFrame, column: str) -> Floats:
    numbers = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
    refuse(path, table, numbers.isna(), f"{column} must be a number", column)
    return np.asarray(numbers, dtype=np.float64)


def refuse(path: Path, table: pd.DataFrame, bad: Any, message: str, column: str | None = None) -> None:
    """Raise for the first row where ``bad`` holds, with the cell that ``column`` has there."""
    rows = table.index[np.asarray(bad)]
    if len(rows):
        got = "" if column is None else f", got {table.at[rows[0], column]!r}"
        raise ValueError(f"{path}: row {rows[0]}: {message}{got}")


def labels_of(values: Iterable[str]) -> list[str]:
    """The distinct labels: in numeric order where they are exactly 0 ... n-1, else as they first appear."""
    found = list(dict.fromkeys(values))
    integers = [str(i) for i in range(len(found))]
    return integers if set(found) == set(integers) else found


def named(labels: list[str] | None) -> tuple[str, ...] | None:
    """The labels, unless they are just the indices."""
    if labels is None or labels == [str(i) for i in range(len(labels))]:
        return None
    return tuple(labels)


def places_of(cells: pd.Series, labels: list[str]) -> Indices:
    """Position of each cell among the labels; -1 where it is none of them."""
    return pd.Index(labels).get_indexer(pd.Index(cells))


def listed(labels: Iterable[str]) -> str:
    first = [repr(label) for label in labels]
    return ", ".join(first if len(first) <= 8 else [*first[:8], "..."])
