"""A table whose faults are said by place, row and column, wherever it came from."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._errors import did_you_mean
from .._types import Floats, Indices
from .labels import listed

COUNT_LIKE = ("n", "num", "number", "freq", "frequency", "times", "votes", "games", "wins", "losses", "total")
"""Columns that are refused, not left out, where they hold numbers: they may say how often a row happened."""


class Nested(str):
    """A cell that has parts, as "an array" or "an object": it is no name, and no number."""

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, eq=False)
class Rows:
    """A table: the file's name or the argument's, and a frame whose index has the rows' numbers or labels.

    text: whether every cell is a string, as in files, where "" is an empty one; otherwise None and nan are.
    """

    place: str
    frame: pd.DataFrame
    text: bool = True

    @property
    def columns(self) -> list[str]:
        """The header."""
        return list(self.frame.columns)

    def __len__(self) -> int:
        return len(self.frame)

    def __contains__(self, column: str) -> bool:
        return column in self.frame.columns

    def __getitem__(self, column: str) -> Any:
        """The cells of a column, an array of objects."""
        return self.frame[column].to_numpy(dtype=object)

    def get(self, column: str, at: Indices | None = None) -> Any:
        """The cells of a column in the rows ``at``, or in all; None where there is no such column."""
        if column not in self:
            return None
        return self[column] if at is None else self[column][at]

    def error(self, message: str) -> ValueError:
        """What is wrong with the table as a whole."""
        return ValueError(f"{self.place}: {message}")

    def refuse(self, bad: Any, message: str, column: str | None = None, at: Indices | None = None) -> None:
        """Raise for the first row where ``bad`` holds, with the cell that ``column`` has there.

        Args:
            at: which row each entry of ``bad`` belongs to. Default: they are the rows.
        """
        found = np.flatnonzero(np.asarray(bad))
        if len(found):
            row = int(found[0] if at is None else at[found[0]])
            got = "" if column is None else f", got {self[column][row]!r}"
            raise ValueError(f"{self.place}: row {self.frame.index[row]}: {message}{got}")

    def empty(self, column: str) -> Any:
        """Where a column has no entry."""
        cells = self[column]
        if self.text:
            return cells == ""
        missing = np.asarray(pd.isna(self.frame[column]), dtype=bool)
        return missing | np.array([isinstance(cell, str) and cell == "" for cell in cells], dtype=bool)

    def numbers(self, column: str, least: float | None = None, *, positive: bool = False, gaps: bool = False) -> Floats:
        """A column of finite numbers, of at least ``least`` or ``positive`` ones; with ``gaps`` empty ones are nan."""
        found = pd.to_numeric(self.frame[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        gap = self.empty(column) if gaps else np.zeros(len(self), dtype=bool)
        self.refuse(np.isnan(found) & ~gap, f"{column} must be a number", column)
        fits, accepted = np.isfinite(found), "a finite number"
        if least is not None:
            fits, accepted = fits & (found >= least), f"a finite number of at least {least:g}"
        if positive:
            fits, accepted = fits & (found > 0), "a positive finite number"
        self.refuse(~(fits | gap), f"{column} must be {accepted}", column)
        return np.asarray(found)

    def check_columns(self, required: Sequence[str], optional: Sequence[str], gaps: Collection[str] = ()) -> list[str]:
        """Raise unless the columns are there and filled, and no other is like one of them; those that are not read.

        Args:
            gaps: columns that may have empty cells.
        """
        known = (*required, *optional)
        for column in required:
            if column not in self:
                raise self.error(f"the column {column!r} is missing; the header has {listed(self.columns)}")
        unread = [column for column in self.columns if column not in known]
        for column in unread:
            missing = [name for name in known if name not in self and abs(len(name) - len(str(column))) <= 1]
            close = did_you_mean(column, missing)
            if close:
                raise self.error(f"unknown column {column!r}; accepted: {listed(known)}{close}")
        for column in known:
            if column in self and column not in gaps:
                self.refuse(self.empty(column), f"{column} must not be empty")
        return unread

    def check_names(self, *columns: str) -> None:
        """Raise for a cell that is no name: it has parts, as a conversation in a list of messages has."""
        for column in columns:
            if column in self:
                bad = [not _is_name(cell) for cell in self[column]]
                self.refuse(bad, f"{column} must be a name or a text", column)

    def check_no_count(self, unread: Iterable[str]) -> None:
        """Raise where a column that is not read may say how often each row happened."""
        for column in unread:
            if str(column).lower() in COUNT_LIKE:
                found = pd.to_numeric(self.frame[column], errors="coerce")
                if bool(((found >= 0) & (found == np.floor(found))).all()):
                    raise self.error(
                        f"unknown column {column!r}, which holds whole numbers: name it 'count' if they say how often "
                        "each row happened, otherwise leave it out"
                    )

    def check_distinct(self, columns: Sequence[str], also: Sequence[str] = ()) -> None:
        """Raise for a row that has the same cells in ``columns``, and in ``also``, as one before it."""
        cells = self.frame[[*columns, *also]].map(lambda cell: cell if _is_name(cell) else repr(cell))
        repeated = cells.duplicated()
        self.refuse(repeated, f"a row with this {', '.join(columns)} came before")

    def remark(self, unread: Sequence[str], *read: str) -> None:
        """Warn of columns that are not read."""
        if unread:
            warnings.warn(f"{self.place}: not read: {listed(unread)}; read: {listed(read)}", stacklevel=2)


def _is_name(cell: Any) -> bool:
    """Whether a cell has no parts that may change: whether it hashes."""
    try:
        hash(cell)
    except TypeError:
        return False
    return not isinstance(cell, Nested)


def in_order(values: Iterable[Hashable], *, text: bool) -> list[Any]:
    """The distinct labels: in numeric order where they are exactly 0 ... n-1, else as they first appear."""
    found = list(dict.fromkeys(values))
    numbers: list[Any] = [str(i) for i in range(len(found))] if text else list(range(len(found)))
    return numbers if set(found) == set(numbers) else found


def names(labels: Sequence[Hashable] | None) -> tuple[Hashable, ...] | None:
    """The labels, unless they are just positions."""
    if labels is None or list(labels) in ([str(i) for i in range(len(labels))], list(range(len(labels)))):
        return None
    return tuple(labels)


def positions(cells: Any, labels: Sequence[Hashable]) -> Indices:
    """Position of each cell among the labels; -1 where it is none of them."""
    where = {label: k for k, label in enumerate(labels)}
    return np.fromiter((where.get(cell, -1) for cell in cells), dtype=np.intp, count=len(cells))
