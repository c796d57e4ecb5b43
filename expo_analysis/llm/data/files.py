"""The rows of a file, each with its line: JSON, JSON Lines, CSV, TSV and parquet, compressed or not.

Nothing is guessed: what a CSV file has is text, and what a JSON file has is what it says. Lines end at a line feed, and
at nothing else that Unicode knows. What cannot be read is refused with the file, line and column.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from .arrow import python_values
from .cells import Row, with_conversations
from .columns import GIVE_ALONE, NAMED
from .nested import place_of_rows
from .table import half_surrogate, rows_of_columns

COMPRESSED: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
BOM = b"\xef\xbb\xbf"


class DuplicateKey(ValueError):
    """A JSON object that has a key twice."""


def format_of(path: Path) -> str | None:
    """The ending that says how a file is read, such as ``".jsonl"``; None where it cannot be."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if len(suffixes) > 1 and suffixes[-1] in COMPRESSED and suffixes[0] != ".parquet":
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in READERS else None


def read_file(path: Path) -> Iterator[Row]:
    """The rows of a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: naming the file, and line and column where there are any, that is no data.
    """
    found = format_of(path)
    if found is None:
        accepted = f"{', '.join(READERS)}; all but .parquet may be compressed, with {', '.join(COMPRESSED)} after it"
        raise ValueError(f"{path}: the name of a data file must end in one of {accepted}")
    empty = True
    try:
        for row in READERS[found](path):
            empty = False
            yield row
    except (gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: it is not a whole {path.suffix} file: {error}") from None
    if empty:
        raise ValueError(f"{path}: it has no rows")


def _opened(path: Path) -> BinaryIO:
    found: BinaryIO = COMPRESSED.get(path.suffix.lower(), Path.open)(path, "rb")
    return found


def _text(path: Path, content: bytes, line: int = 1) -> str:
    """Bytes as text; ``line`` is that of the first byte."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line += before.count(b"\n")
        column = len(before[before.rfind(b"\n") + 1 :].decode()) + 1
        wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        what = "it is UTF-16" if wide else f"the byte 0x{content[error.start]:02x} is not UTF-8"
        raise ValueError(f"{path}, line {line}, column {column}: {what}: save the file as UTF-8") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DuplicateKey(f"the key {twice!r} stands twice in one object")
    for name in found:
        broken = half_surrogate(name)
        if broken is not None:
            raise ValueError(f"the key {name!r} is no text: {broken}")
    return found


def _whole(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python's limit
        count, most = len(digits.lstrip("-")), sys.get_int_max_str_digits()
        raise ValueError(f"it has a whole number of {count} digits; at most {most} are read") from None


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole)


def _json_lines(path: Path) -> Iterator[Row]:
    with _opened(path) as file:
        for line, content in enumerate(file, start=1):  # a file of bytes ends its lines at \n only
            text = _text(path, content.removeprefix(BOM) if line == 1 else content, line).rstrip("\r\n")
            if text.strip(" \t\r"):
                yield _record(path, line, text), line


def read_lines(path: Path) -> Iterator[Row]:
    """The lines of a text file, each as the column ``prompt``; errors are those of `read_file`."""
    with _opened(path) as file:
        for line, content in enumerate(file, start=1):
            text = _text(path, content.removeprefix(BOM) if line == 1 else content, line)
            yield {"prompt": text.removesuffix("\n").removesuffix("\r")}, line


def _record(path: Path, line: int, text: str) -> dict[str, Any]:
    where = f"{path}, line {line}"
    try:
        record = DECODER.decode(text)
    except json.JSONDecodeError as error:
        hint = ""
        if line == 1 and text.lstrip()[:1] == "[":
            hint = "; a file that is one JSON array must have a name that ends in .json"
        raise ValueError(f"{where}, column {error.colno}: it is not JSON: {error.msg}{hint}") from None
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{where}: {_reason(error)}") from None
    if not isinstance(record, dict):
        raise ValueError(f'{where}: it must be an object such as {{"prompt": ...}}, got {text:.40}')
    return record


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _json_document(path: Path) -> Iterator[Row]:
    """A list of objects; an object that holds one under some key; or JSON Lines, which many .json files are."""
    with _opened(path) as file:
        text = _text(path, file.read().removeprefix(BOM))
    start = len(text) - len(text.lstrip())
    if start == len(text):
        return
    try:
        document, end = DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        where = f"{path}, line {error.lineno}, column {error.colno}"
        raise ValueError(f"{where}: it is not JSON: {error.msg}") from None
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path}: {_reason(error)}") from None
    if text[end:].strip():
        yield from _json_lines(path)
        return
    for place, record in enumerate(_list_in(path, document)):
        if not isinstance(record, dict):
            raise ValueError(f'{path}: row {place} must be an object such as {{"prompt": ...}}, got {record!r:.40}')
        yield record, None


def _list_in(path: Path, document: Any) -> list[Any]:
    if isinstance(document, list):
        return document
    if isinstance(document, dict):
        if document and all(isinstance(value, list) for value in document.values()):
            return _of_lists(path, document)
        if any({*whole} <= document.keys() for whole in WHOLE):
            return [document]
        lists = {key: value for key, value in document.items() if isinstance(value, list)}
        tables = [key for key, value in lists.items() if value and all(isinstance(part, dict) for part in value)]
        inside = place_of_rows(document)
        if len(lists) == 1 and tables and inside.partition("[")[0] in ("", tables[0]):
            return lists[tables[0]]
        if not lists:
            return [document]  # JSON Lines of one line
        if inside:
            raise ValueError(f"{NO_LIST.format(path)}; the rows seem to be in {inside}: {GIVE_ALONE}")
    raise ValueError(NO_LIST.format(path))


def _of_lists(path: Path, document: dict[str, list[Any]]) -> list[Any]:
    """The rows of an object of lists: one list of rows, columns, or one row whose fields are conversations."""
    parts = [part for value in document.values() for part in value]
    known = [name for name in document if name in NAMED]
    are_rows = bool(parts) and all(isinstance(part, dict) for part in parts)
    if len(document) == 1 and are_rows and not {"role", "from"} & parts[0].keys():
        return parts
    if known and parts and all(isinstance(part, dict) and {"role", "from"} & part.keys() for part in parts):
        return [document]
    if known:
        return rows_of_columns(str(path), document)
    names = list(document)
    if are_rows and names[0].split("_")[0] in SPLITS:
        raise ValueError(
            f"{path}: it has several lists of rows, {', '.join(map(repr, names))}: write each to a file of its own, "
            f"such as {names[0]}.json and {names[1]}.json, and give one of them, or their folder, whose splits they are"
        )
    raise ValueError(NO_LIST.format(path))


WHOLE = (("chosen", "rejected"), ("prompt", "completion"), ("prompt", "responses"))
"""What an object has that is a row itself, whose fields may be lists."""

SPLITS = ("train", "test", "validation")

NO_LIST = '{}: it must be a list of objects such as {{"prompt": ...}}, or an object with one such list, or columns'


def _table(path: Path, delimiter: str) -> Iterator[Row]:
    with _opened(path) as file:
        text = _text(path, file.read().removeprefix(BOM))
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    begin = 1
    try:
        for cells in reader:
            line, begin = begin, reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = _header(path, line, cells)
            elif len(cells) != len(header):
                what = f"it has {len(cells)} fields, and the header {len(header)}"
                hint = "" if len(cells) < len(header) else "; text with separators in it must be in quotation marks"
                raise ValueError(f"{path}, line {line}: {what}{hint}")
            else:
                yield dict(zip(header, cells, strict=True)), line
    except csv.Error as error:
        raise ValueError(f"{path}, line {begin}: a quotation mark is out of place: {error}") from None


def _header(path: Path, line: int, cells: list[str]) -> list[str]:
    twice = next((cell for cell in cells if cells.count(cell) > 1), None)
    if twice is not None:
        raise ValueError(f"{path}, line {line}: the column {twice!r} stands twice in the header")
    if len(cells) == 1:
        for other, name in ((";", "semicolons"), ("\t", "tabs (.tsv)"), (",", "commas (.csv)")):
            if other in cells[0]:
                raise ValueError(f"{path}, line {line}: it is separated by {name}, which its ending does not say")
    return cells


def _csv(path: Path) -> Iterator[Row]:
    return with_conversations(_table(path, ","))


def _tsv(path: Path) -> Iterator[Row]:
    return with_conversations(_table(path, "\t"))


def _parquet(path: Path) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1000):
                names, columns = batch.schema.names, map(python_values, batch.columns)
                yield from ((dict(zip(names, row, strict=True)), None) for row in zip(*columns, strict=True))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: it is not a parquet file: {error}") from None


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".json": _json_document,
    ".csv": _csv,
    ".tsv": _tsv,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}
