"""Tables of comparisons of millions of rows, read and counted some of them at a time.

The forms of rows, and what is refused of them, are those of `comparisons`; a chunk is read as a table is.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .._checks import check_option, check_whole
from .columns import coded, sorted_labels
from .comparisons import REWARDS, comparisons_of, is_comparisons
from .counting import TIES
from .formats import ENDINGS, ending, read_chunks, read_rows
from .labels import listed
from .paired import Comparisons
from .rows import Rows

__all__ = ["Tally", "read_comparisons"]

ROWS = 200_000
"""Rows that are read at a time: enough for the time of a chunk to be that of its rows."""


def read_comparisons(
    path: str | os.PathLike[str],
    *,
    ties: str = "half",
    reference: Any = None,
    responses: Iterable[Hashable] | None = None,
    rows: int = ROWS,
) -> Comparisons:
    """The comparisons in a CSV, TSV, JSON Lines or Parquet file (the texts also .gz), however many rows it has.

    A file has one of the forms of `expo_analysis.bandit.comparisons`: ``winner, loser``; ``model_a, model_b`` with
    ``winner`` or two scores; and so on, without ``prompt``. Names are text.

    Args:
        ties: ``"half"`` a win of each, or ``"drop"``: left out.
        reference, responses: as for `Comparisons`.
        rows: how many are in memory at a time. A file with the column ``count``, in which each row stands once, is
            read as a whole.

    Raises:
        OSError: the file cannot be read.
        ValueError: naming the file, and column and row (the header of CSV is row 1).

    Example:
        >>> import expo_analysis as ea
        >>> battles = ea.read_comparisons("tests/files/arena.jsonl")  # doctest: +SKIP
    """
    place = Path(path)
    if ending(place) in (None, ".json"):
        raise ValueError(f"{place}: the name of a file of comparisons must end in {', '.join(ENDINGS[1:])}")
    check_whole("rows", rows, least=1)
    tally = Tally(ties, text=True)
    for chunk in read_chunks(place, rows):
        if "count" in chunk:  # whose rows must differ, which one chunk alone does not tell
            tally.add(read_rows(place))
            break
        tally.add(chunk)
    return tally.comparisons(reference, responses)


UNREAD = ("margin", "third", *(name for pair in REWARDS for name in pair))
"""Columns of comparisons that losses of two responses' log-ratio do not read."""


class Tally:
    """Comparisons counted, table by table; names have the numbers in which order they came."""

    def __init__(self, ties: str, text: bool) -> None:
        check_option("ties", ties, TIES)
        self.ties, self.text = ties, text
        self.place: dict[Hashable, int] = {}
        self.parts: list[tuple[Any, Any, Any, Any]] = []

    def add_frame(self, frame: Any) -> None:
        """A DataFrame as an argument called ``comparisons``."""
        import pandas as pd

        if not isinstance(frame, pd.DataFrame):
            raise ValueError(f"comparisons must be a pandas DataFrame, got {type(frame).__name__}")
        if frame.columns.has_duplicates:
            raise ValueError(f"comparisons: the column {frame.columns[frame.columns.duplicated()][0]!r} is given twice")
        if frame.empty:
            raise ValueError("comparisons must hold at least one comparison")
        self.add(Rows("comparisons", frame, text=False))

    def add(self, rows: Rows) -> None:
        """Count the rows of a table.

        Raises:
            ValueError: naming the table, and the row.
        """
        if not is_comparisons(rows):
            raise rows.error(
                f"must have the columns 'winner', 'loser', or those of another form; it has {listed(rows.columns)}"
            )
        if "prompt" in rows:
            raise rows.error(
                "comparisons have no prompt: RaggedBandit.from_comparisons, or read_ragged_bandit of a file, gives "
                "each prompt the responses that occur on it; or leave out the column 'prompt'"
            )
        data = comparisons_of(_without(rows, UNREAD))
        sides, labels = coded([data.first, data.second])
        number = np.array([self.place.setdefault(label, len(self.place)) for label in labels], dtype=np.intp)
        first, second = (number[side] for side in sides)
        lost, tied = data.score == 0, data.score == 0.5
        weight = np.where(tied, 0.0, data.weight) if self.ties == "drop" else data.weight
        self.parts.append((np.where(lost, second, first), np.where(lost, first, second), weight, tied))

    def comparisons(self, reference: Any, responses: Iterable[Hashable] | None) -> Comparisons:
        """All that was counted."""
        labels = list(self.place)
        order = sorted_labels(labels) if responses is None else list(responses)
        where = {label: k for k, label in enumerate(order)}
        strange = [label for label in labels if label not in where]
        if strange:
            raise ValueError(f"responses must have every name that occurs; it lacks {listed(strange)}")
        position = np.array([where[label] for label in labels], dtype=np.intp)
        winner, loser, weight, tie = (np.concatenate(columns) for columns in zip(*self.parts, strict=True))
        numbered = order == [str(k) for k in range(len(order))] if self.text else order == list(range(len(order)))
        return Comparisons.counted(
            len(order), (position[winner], position[loser]), weight, tie, reference, None if numbered else order
        )


def _without(rows: Rows, columns: Iterable[str]) -> Rows:
    """A table without columns that say nothing here, of which a warning tells."""
    there = [name for name in columns if name in rows]
    rows.remark(there, *(name for name in rows.columns if name not in there))
    return Rows(rows.place, rows.frame.drop(columns=there), rows.text)
