"""What stands in a file, before it means anything: text, JSON values, or rows; compressed or not."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from .labels import listed
from .rows import Nested, Rows

ENDINGS = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
"""Of the names of files; all but the last may be followed by .gz."""

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


class Number(str):
    """A number of a JSON file as it is written, so that no digit is lost."""


def ending(path: str | os.PathLike[str]) -> str | None:
    """What a file's name says of its format, one of `ENDINGS`; None where it says nothing.

    Example:
        >>> ending("wins.CSV.gz")
        '.csv'
    """
    name = Path(path).name.lower()
    plain = name.removesuffix(".gz")
    found = next((known for known in ENDINGS if plain.endswith(known)), None)
    return None if found == ".parquet" and name != plain else found


def read_rows(path: Path) -> Rows:
    """The rows of a table, or of an array of objects in a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: naming the file, and the line or the row.
    """
    kind = ending(path)
    if kind == ".parquet":
        return _parquet(path)
    if kind in (".csv", ".tsv"):
        return _separated(path, "\t" if kind == ".tsv" else ",")
    return records(path, read_json(path))


def read_json(path: Path) -> Any:
    """The value in a .json file, or the list of those in the lines of a .jsonl file; numbers are `Number`."""
    text = _text(path)
    if ending(path) == ".json":
        return _json(path, text, "")
    lines = ((k, line) for k, line in enumerate(text.split("\n"), start=1) if line.strip())
    return {k: _json(path, line, f" in row {k}") for k, line in lines}


def records(path: Path, value: Any) -> Rows:
    """An array of objects as rows: rows of a .json file are counted from 1, those of .jsonl are its lines."""
    items = value if isinstance(value, dict) else dict(enumerate(value, start=1))
    cells: list[dict[str, str]] = []
    for row, item in items.items():
        if not isinstance(item, dict):
            raise ValueError(f"{path}: row {row}: must be an object, a comparison or a response, got {kind_of(item)}")
        cells.append({})
        for name, cell in item.items():
            if isinstance(cell, (list, dict)):
                cells[-1][name] = Nested(kind_of(cell))
            else:
                cells[-1][name] = "" if cell is None else str(cell).lower() if isinstance(cell, bool) else str(cell)
    frame = pd.DataFrame(cells, index=pd.Index(list(items)), dtype=object).fillna("")
    if frame.empty:
        raise ValueError(f"{path}: has no rows")
    return Rows(str(path), frame)


def kind_of(value: Any) -> str:
    """A JSON value as it was written, or what it is where it has parts."""
    if isinstance(value, (list, dict)):
        return "an array" if isinstance(value, list) else "an object"
    return str(value) if isinstance(value, Number) else json.dumps(value)


# --------------------------------------------------------------------------------------------------------------- text


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: is not a whole gzip file: {error}") from None
    if not text.strip():
        raise ValueError(f"{path}: is empty")
    return text


def _json(path: Path, text: str, where: str) -> Any:
    try:
        return json.loads(
            text,
            parse_int=Number,
            parse_float=Number,
            parse_constant=Number,
            object_pairs_hook=_without_duplicates,
        )
    except json.JSONDecodeError as error:
        at = where or f", line {error.lineno} column {error.colno}"
        raise ValueError(f"{path}: malformed JSON: {error.msg}{at}") from None
    except RecursionError:
        raise ValueError(f"{path}: malformed JSON: nested too deeply{where}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}{where}") from None


def _without_duplicates(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in items:
        if key in found:
            raise ValueError(f"the key {key!r} is given twice")
        found[key] = value
    return found


# ------------------------------------------------------------------------------------------------------------- tables


NO_ROWS = "has a header and no rows"

READING: dict[str, Any] = {
    "header": None,  # pandas would rename a column that is given twice
    "dtype": str,
    "keep_default_na": False,
    "index_col": False,
    "skip_blank_lines": False,
}


def _separated(path: Path, separator: str) -> Rows:
    """Every cell as a stripped string; the index is the row in the file, where the header is row 1."""
    text = _text(path)
    with _parsing(path, separator, lambda: io.StringIO(text)):
        table = pd.read_csv(io.StringIO(text), sep=separator, **READING)
    header = _header(path, separator, table.iloc[0])
    rows = _cells(path, table.iloc[1:], header, 2)
    if not len(rows):
        raise ValueError(f"{path}: {NO_ROWS}")
    return rows


@contextmanager
def _parsing(path: Path, separator: str, again: Callable[[], TextIO]) -> Iterator[None]:
    """What pandas says of a malformed file, in one sentence; ``again`` opens its text once more."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # cells beyond the header would be dropped
            yield
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        with again() as lines:
            raise ValueError(f"{path}: {_malformed(lines, separator) or _reason(separator, error)}") from None


def _header(path: Path, separator: str, cells: Any) -> list[str]:
    header = cells.fillna("").str.strip()
    if len(header) == 1:
        for other, name in SEPARATORS.items():
            if other != separator and other in header.iloc[0]:
                raise ValueError(f"{path}: cells must be separated by {SEPARATORS[separator]}, and these are by {name}")
    if header.duplicated().any():
        raise ValueError(f"{path}: the column {header[header.duplicated()].iloc[0]!r} is given twice")
    return list(header)


def _cells(path: Path, table: pd.DataFrame, header: list[str], first: int) -> Rows:
    """The rows below the header, ``first`` being the number of the first of them; blank ones are left out."""
    table = table.fillna("").apply(lambda column: column.str.strip())
    table.columns = pd.Index(header)
    table.index = pd.RangeIndex(first, first + len(table))
    return Rows(str(path), table[(table != "").any(axis=1)])


def read_chunks(path: Path, rows: int) -> Iterator[Rows]:
    """`read_rows` of a file that may be large, so many rows at a time; for all but .json.

    Raises:
        OSError, ValueError: as `read_rows`, when the row is reached.
    """
    kind = ending(path)
    if kind == ".parquet":
        yield from _parquet_chunks(path, rows)
        return
    try:
        if kind == ".jsonl":
            yield from _line_chunks(path, rows)
        else:
            yield from _separated_chunks(path, "\t" if kind == ".tsv" else ",", rows)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text: {error.reason}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: is not a whole gzip file: {error}") from None


def _opened(path: Path) -> TextIO:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _line_chunks(path: Path, rows: int) -> Iterator[Rows]:
    found: dict[int, Any] = {}
    k = 0
    with _opened(path) as lines:
        for k, line in enumerate(lines, start=1):
            if line.strip():
                found[k] = _json(path, line, f" in row {k}")
            if len(found) == rows:
                yield records(path, found)
                found = {}
    if found or not k:
        yield records(path, found)


def _separated_chunks(path: Path, separator: str, rows: int) -> Iterator[Rows]:
    header: list[str] = []
    first, found = 2, 0
    with _parsing(path, separator, lambda: _opened(path)), _opened(path) as lines:
        try:
            tables = pd.read_csv(lines, sep=separator, chunksize=rows, **READING)
        except pd.errors.EmptyDataError:
            raise ValueError(f"{path}: is empty") from None
        for table in tables:
            if not header:
                header, table = _header(path, separator, table.iloc[0]), table.iloc[1:]
            if len(chunk := _cells(path, table, header, first)):
                yield chunk
            first, found = first + len(table), found + len(chunk)
    if not found:
        raise ValueError(f"{path}: {NO_ROWS}")


def _malformed(lines: Iterable[str], separator: str) -> str | None:
    """What is wrong with a row that has more cells than the header."""
    header: list[str] = []
    try:
        for row, cells in enumerate(csv.reader(lines, delimiter=separator), start=1):
            header = header or cells
            if len(cells) > len(header):
                return (
                    f"row {row}: has {len(cells)} cells, and the header has {len(header)} ({listed(header)}); a cell "
                    f"with {SEPARATORS[separator]} in it must be quoted"
                )
    except csv.Error:
        pass
    return None


def _reason(separator: str, error: Exception) -> str:
    said = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
    unclosed = re.fullmatch(r"EOF inside string starting at row (\d+)", said)
    if unclosed:
        return f"row {int(unclosed[1]) + 1}: has a cell whose quotation mark is not closed"
    return f"malformed {'CSV' if separator == ',' else 'TSV'}: {said}"


def _parquet(path: Path) -> Rows:
    """Every cell as a string; rows are counted from 1."""
    with _parquet_errors(path):
        table = pd.read_parquet(path)
    if table.empty:
        raise ValueError(f"{path}: has no rows")
    if table.index.name is not None or not pd.api.types.is_integer_dtype(table.index):  # its labels are cells
        table = table.rename_axis(index=str(table.index.name or "")).reset_index()
    return _texts(path, table, 1)


def _parquet_chunks(path: Path, rows: int) -> Iterator[Rows]:
    first = 1
    with _parquet_errors(path):
        from pyarrow.parquet import ParquetFile

        file = ParquetFile(path)
    with file:
        for batch in file.iter_batches(rows):
            table = batch.to_pandas()
            yield _texts(path, table, first)
            first += len(table)
    if first == 1:
        raise ValueError(f"{path}: has no rows")


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    path.open("rb").close()  # what cannot be read is an OSError that names the file
    try:
        yield
    except ImportError:
        raise ValueError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: malformed Parquet: {' '.join(str(error).split())}") from None


def _texts(path: Path, table: pd.DataFrame, first: int) -> Rows:
    table.columns = table.columns.map(str)
    text = {name: [_as_text(cell) for cell in table[name].array] for name in table}
    return Rows(str(path), pd.DataFrame(text, index=pd.RangeIndex(first, first + len(table)), dtype=object))


def _as_text(cell: Any) -> str:
    if cell is None or (not hasattr(cell, "__len__") and pd.isna(cell)):
        return ""
    if isinstance(cell, str):
        return cell
    if hasattr(cell, "__len__"):
        return Nested("an object" if isinstance(cell, dict) else "an array")
    value = cell.item() if hasattr(cell, "item") else cell
    return str(value).lower() if isinstance(value, bool) else str(value)
