"""Reading a `Bandit` from a JSON or CSV file.

JSON holds one object, of exact preferences or of win counts:

* ``{"reference": [...], "optimal": [...], "pairs": "uniform" | "reference" | [[...]], "prompt_weights": [...]}``
* ``{"reference": [...], "counts": [[...]], "prompt_weights": [...]}``

with the shapes of `Bandit`; ``pairs`` and ``prompt_weights`` may be left out. CSV holds one of three tables, told
apart by their headers (columns in any order; ``prompt`` may be left out where there is only one):

* policies: ``prompt, response, reference, optimal``, one row for each prompt and response;
* a reference: the same without ``optimal``;
* win counts: ``prompt, winner, loser, count``; without ``count`` each row is one comparison, and rows may repeat.

Other columns, such as a date, are not read, which a warning says; rows may then repeat that differ in them. Refused are
columns that may be meant to be read: a misspelt name, or whole numbers in a table of wins that has no ``count``.

Labels of responses and prompts are indices where they are exactly the integers 0 ... n-1, in any order of rows.
Otherwise they are names, and the order is that in which the file with the policies (for counts: the reference) lists
them.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ._checks import check_policy, did_you_mean
from ._types import Floats, Indices
from .bandit import Bandit

__all__ = ["NamedBandit", "read_bandit", "read_named_bandit"]

Reference = str | os.PathLike[str] | Sequence[float]

POLICIES, WINS = ("response", "reference", "optimal"), ("winner", "loser")
"""The columns by which a table is known for what it is."""


@dataclass(frozen=True, eq=False)
class NamedBandit:
    """A bandit, and the names of its responses and prompts; None where a file gives indices or nothing."""

    bandit: Bandit
    responses: tuple[str, ...] | None = None
    prompts: tuple[str, ...] | None = None


def read_bandit(path: str | os.PathLike[str], reference: Reference | None = None) -> Bandit:
    """The bandit in a ``.json`` or ``.csv`` file; the module's docstring gives the formats.

    Args:
        reference: pi_ref for a CSV file of win counts, which holds none: probabilities, shape (n,), for responses
            0 ... n-1; the path of a CSV file with a reference or with policies (an ``optimal`` there is not used); or
            ``"uniform"``, over the responses in the file (names in alphabetical order, players 1 ... n in that of their
            numbers). All other files have their own.

    Raises:
        OSError: a file cannot be read.
        ValueError: naming the file, and the key, or column and row (the header is row 1), that is wrong.
    """
    return read_named_bandit(path, reference).bandit


def read_named_bandit(path: str | os.PathLike[str], reference: Reference | None = None) -> NamedBandit:
    """`read_bandit`, with the names that the file gives to responses and prompts."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".json", ".csv"):
        raise ValueError(f"{path}: the name of a bandit's file must end in .json or .csv")
    if suffix == ".csv":
        table = _read_csv(path)
        if set(WINS) & set(table.columns):
            return _from_wins(path, table, reference)
        if not set(POLICIES) & set(table.columns):
            raise ValueError(
                f"{path}: must have the columns {_listed(WINS)} (win counts) or {_listed(POLICIES)} (policies); the "
                f"header has {_listed(table.columns)}"
            )
        named = _from_policies(path, table)
    else:
        named = _from_json(path)
    if reference is not None:
        raise ValueError(f"{path}: reference is not used, as this file has its own; it is for CSV files of win counts")
    return named


# ---------------------------------------------------------------------------------------------------------------- JSON


def _from_json(path: Path) -> NamedBandit:
    text = _read_text(path)
    try:
        # integers as floats, so that no number of digits is too many for numpy
        data = json.loads(text, parse_int=float, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: malformed JSON: {error.msg}, line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise ValueError(f"{path}: malformed JSON: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path}: must hold one JSON object, with the keys of a bandit; got {_kind(data)}")
    counted = "counts" in data
    required = {"reference", "counts"} if counted else {"reference", "optimal"}
    optional = {"prompt_weights"} if counted else {"pairs", "prompt_weights"}
    for key in data:
        if key not in required | optional:
            beside = " beside counts" if counted else ""
            raise ValueError(f"{path}: unknown key {key!r}{beside}; accepted: {sorted(required | optional)}")
    for key in sorted(required - set(data)):
        also = " (or counts)" if key == "optimal" else ""
        raise ValueError(f"{path}: the key {key!r}{also} is missing")
    for key, value in data.items():
        if not (key == "pairs" and isinstance(value, str)):
            _check_numbers(path, key, value)
    return NamedBandit(_build(path, **data))


def _without_duplicates(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in items:
        if key in found:
            raise ValueError(f"the key {key!r} is given twice")
        found[key] = value
    return found


def _check_numbers(path: Path, key: str, value: Any) -> None:
    """Raise unless ``value`` is an array of numbers, of any depth; numpy would take ``"0.4"`` and ``true`` for some."""
    if not isinstance(value, list):
        raise ValueError(f"{path}: {key} must be an array of numbers, got {_kind(value)}")
    waiting = [value]
    while waiting:
        for item in waiting.pop():
            if isinstance(item, list):
                waiting.append(item)
            elif not isinstance(item, float):
                raise ValueError(f"{path}: {key} must be an array of numbers, but holds {_kind(item)}")


def _kind(value: Any) -> str:
    """A JSON value as it was written, or what it is where it has parts."""
    if isinstance(value, (list, dict)):
        return "an array" if isinstance(value, list) else "an object"
    return json.dumps(value)


# ----------------------------------------------------------------------------------------------------------------- CSV


@dataclass(frozen=True)
class _Policies:
    """Policies by the name of their column, in the order of the labels; ``prompts`` is None without that column."""

    source: str
    responses: list[str]
    prompts: list[str] | None
    values: dict[str, Floats]


def _from_policies(path: Path, table: pd.DataFrame) -> NamedBandit:
    policies = _policies(path, table, required=("reference", "optimal"))
    return NamedBandit(_build(path, **policies.values), _names(policies.responses), _names(policies.prompts))


def _from_wins(path: Path, table: pd.DataFrame, reference: Reference | None) -> NamedBandit:
    unread = _check_columns(path, table, required=WINS, optional=("count", "prompt"))
    if reference is None:
        raise ValueError(
            f"{path}: win counts need a reference: probabilities, a CSV file with the columns response and reference, "
            "or 'uniform'"
        )
    _refuse(path, table, table["winner"] == table["loser"], "winner and loser must differ")
    columns = [column for column in ("prompt", *WINS) if column in table]
    counts = np.ones(len(table))
    if "count" in table:
        counts = _numbers(path, table, "count")
        _refuse(path, table, ~_whole(counts), "count must be a non-negative integer", "count")
        repeated = table.duplicated([*columns, *unread])
        _refuse(path, table, repeated, f"a row with this {', '.join(columns)} came before")
    else:
        for column in unread:
            if _whole(pd.to_numeric(table[column], errors="coerce")).all():
                raise ValueError(
                    f"{path}: unknown column {column!r}, which holds whole numbers: name it 'count' if they say how "
                    "often each row happened, otherwise leave it out"
                )
    _warn_of(path, unread, *WINS, "count", "prompt")
    known = _reference(path, table, reference)
    prompts = known.prompts
    if prompts is None and "prompt" in table:
        prompts = _labels(table["prompt"])
    elif prompts is not None and "prompt" not in table:
        raise ValueError(f"{path}: the column 'prompt' is missing, though {known.source} has it")
    where = []
    for column in columns:
        labels = prompts if column == "prompt" and prompts is not None else known.responses
        where.append(_positions(table[column], labels))
        allowed = f"{column} must be one of {_listed(labels)}, as in {known.source}"
        _refuse(path, table, where[-1] < 0, allowed, column)
    shape = (len(known.responses),) if prompts is None else (len(prompts), len(known.responses))
    matrix = np.zeros((*shape, shape[-1]))
    np.add.at(matrix, tuple(where), counts)
    bandit = _build(path, reference=np.broadcast_to(known.values["reference"], shape), counts=matrix)
    return NamedBandit(bandit, _names(known.responses), _names(prompts))


def _reference(path: Path, table: pd.DataFrame, reference: Reference) -> _Policies:
    """The reference for a file of win counts, checked here, so that its faults are not blamed on that file."""
    if isinstance(reference, str) and reference == "uniform":
        seen = _labels(sorted({*table["winner"], *table["loser"]}))
        if all(label.isdecimal() for label in seen) and _names(seen):
            seen = sorted(seen, key=int)
            if seen != [str(i + 1) for i in range(len(seen))]:
                raise ValueError(
                    f"{path}: a uniform reference needs responses 0 ... n-1 or 1 ... n, each in some comparison, or "
                    f"names; got {_listed(seen)}"
                )
        return _Policies("the comparisons", seen, None, {"reference": np.full(len(seen), 1 / len(seen))})
    if isinstance(reference, (str, os.PathLike)):
        file = Path(reference)
        known = _policies(file, _read_csv(file), required=("reference",), optional=("optimal",))
        try:
            check_policy("reference", known.values["reference"], least=2)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
        return known
    values = check_policy("reference", reference, least=2)
    if values.ndim != 1:
        raise ValueError(f"reference must have shape (n,) beside a file of win counts, got {values.shape}")
    labels = [str(i) for i in range(len(values))]
    source = f"a reference of {len(values)} probabilities, which are numbered from 0"
    return _Policies(source, labels, None, {"reference": values})


def _whole(numbers: Any) -> Any:
    """Where numbers are non-negative integers."""
    return (numbers >= 0) & (numbers == np.floor(numbers)) & (numbers < np.inf)


def _policies(path: Path, table: pd.DataFrame, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> _Policies:
    unread = _check_columns(path, table, required=("response", *required), optional=("prompt", *optional))
    _warn_of(path, unread, "response", *required, "prompt", *optional)
    columns = [column for column in ("prompt", "response") if column in table]
    _refuse(path, table, table.duplicated(columns), f"a row with this {', '.join(columns)} came before")
    responses = _labels(table["response"])
    prompts = _labels(table["prompt"]) if "prompt" in table else None
    for prompt in prompts or []:
        missing = set(responses) - set(table["response"][table["prompt"] == prompt])
        if missing:
            raise ValueError(f"{path}: prompt {prompt!r} has no row for response {_listed(sorted(missing))}")
    where = [_positions(table[column], (prompts or []) if column == "prompt" else responses) for column in columns]
    values = {}
    for column in required:
        values[column] = np.empty([len(labels) for labels in (prompts, responses) if labels is not None])
        values[column][tuple(where)] = _numbers(path, table, column)
    return _Policies(str(path), responses, prompts, values)


def _read_csv(path: Path) -> pd.DataFrame:
    """Every cell as a stripped string; the index is the row in the file, where the header is row 1."""
    text = _read_text(path)
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


def _check_columns(path: Path, table: pd.DataFrame, required: tuple[str, ...], optional: tuple[str, ...]) -> list[str]:
    """Raise unless the columns are there and filled, and no other is like one of them; those that are not read."""
    known = (*required, *optional)
    for column in required:
        if column not in table:
            raise ValueError(f"{path}: the column {column!r} is missing; the header has {_listed(table.columns)}")
    unread = [column for column in table.columns if column not in known]
    for column in unread:
        close = did_you_mean(column, [name for name in known if name not in table])
        if close:
            raise ValueError(f"{path}: unknown column {column!r}; accepted: {_listed(known)}{close}")
    for column in known:
        if column in table:
            _refuse(path, table, table[column] == "", f"{column} must not be empty")
    return unread


def _warn_of(path: Path, unread: list[str], *read: str) -> None:
    if unread:
        warnings.warn(f"{path}: not read: {_listed(unread)}; read: {_listed(read)}", stacklevel=2)


def _numbers(path: Path, table: pd.DataFrame, column: str) -> Floats:
    numbers = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
    _refuse(path, table, numbers.isna(), f"{column} must be a number", column)
    return np.asarray(numbers, dtype=np.float64)


def _refuse(path: Path, table: pd.DataFrame, bad: Any, message: str, column: str | None = None) -> None:
    """Raise for the first row where ``bad`` holds, with the cell that ``column`` has there."""
    rows = table.index[np.asarray(bad)]
    if len(rows):
        got = "" if column is None else f", got {table.at[rows[0], column]!r}"
        raise ValueError(f"{path}: row {rows[0]}: {message}{got}")


def _labels(values: Iterable[str]) -> list[str]:
    """The distinct labels: in numeric order where they are exactly 0 ... n-1, else as they first appear."""
    found = list(dict.fromkeys(values))
    integers = [str(i) for i in range(len(found))]
    return integers if set(found) == set(integers) else found


def _names(labels: list[str] | None) -> tuple[str, ...] | None:
    """The labels, unless they are just the indices."""
    if labels is None or labels == [str(i) for i in range(len(labels))]:
        return None
    return tuple(labels)


def _positions(cells: pd.Series, labels: list[str]) -> Indices:
    """Position of each cell among the labels; -1 where it is none of them."""
    return pd.Index(labels).get_indexer(pd.Index(cells))


def _listed(labels: Iterable[str]) -> str:
    first = [repr(label) for label in labels]
    return ", ".join(first if len(first) <= 8 else [*first[:8], "..."])


# ---------------------------------------------------------------------------------------------------------------- both


def _read_text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from None
    if not text.strip():
        raise ValueError(f"{path}: is empty")
    return text


def _build(path: Path, reference: Any, optimal: Any = None, counts: Any = None, **rest: Any) -> Bandit:
    """The bandit, with the file's name in front of whatever is wrong with its contents."""
    try:
        if counts is None:
            return Bandit(reference, optimal, **rest)
        return Bandit.from_counts(reference, counts, **rest)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
