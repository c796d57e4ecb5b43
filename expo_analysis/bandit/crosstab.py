"""A table of counts in a file: a row for each winner, a column for each loser."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._types import Floats
from .arrays import NO_MARGINS, totals
from .comparisons import Outcomes, is_comparisons
from .rows import Rows

CORNERS = ("", "winner", "winner/loser", "winner\\loser")
"""What may stand above the names of the winners."""


def is_crosstab(rows: Rows) -> bool:
    """Whether the first column is one of `CORNERS`, and names responses that others of the columns are too."""
    first, *rest = rows.columns
    others = {"count", "prompt", "weight"} & set(rest)
    if first not in CORNERS or others or is_comparisons(Rows("", rows.frame[rest])):
        return False
    return bool(set(rows[first]) & set(rest))


def read_crosstab(rows: Rows) -> Outcomes:
    """A comparison, with its count as the weight, for each cell.

    Raises:
        ValueError: naming the table, row and column: a name that stands there twice, a cell that is no count, or
            wins of a response over itself.
    """
    corner, *losers = rows.columns
    rows.refuse(rows.empty(corner), "the winner's name must not be empty")
    rows.check_names(corner)
    rows.refuse(rows.frame[corner].duplicated(), "this winner came before", corner)
    counts = np.stack([rows.numbers(loser, least=0.0) for loser in losers], axis=1)
    winners = rows[corner]
    _check_no_total(rows, list(winners), losers, counts)
    for k, loser in enumerate(losers):
        own = (winners == loser) & (counts[:, k] != 0)
        rows.refuse(own, "a response does not beat itself: its own column must hold 0", loser)
    row, column = np.nonzero(winners[:, None] != np.array(losers, dtype=object))
    return Outcomes(
        rows,
        row,
        (corner, corner),
        winners[row],
        np.array(losers, dtype=object)[column],
        np.ones(len(row)),
        counts[row, column],
    )


def _check_no_total(rows: Rows, winners: list[Any], losers: list[Any], counts: Floats) -> None:
    """Raise for the row or the column of a total."""
    every = list(dict.fromkeys([*winners, *losers]))
    square = np.zeros((len(every), len(every)))
    square[np.ix_([every.index(label) for label in winners], [every.index(label) for label in losers])] = counts
    for label in (every[k] for k in totals(square, every)):
        wrong = f"{label!r} is a total of the others: {NO_MARGINS}"
        rows.refuse([winner == label for winner in winners], wrong)
        raise rows.error(f"column {wrong}")
