"""A table of counts in a file: a row for each winner, a column for each loser."""

from __future__ import annotations

import numpy as np

from .comparisons import Comparisons, is_comparisons
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


def read_crosstab(rows: Rows) -> Comparisons:
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
    for k, loser in enumerate(losers):
        own = (winners == loser) & (counts[:, k] != 0)
        rows.refuse(own, "a response does not beat itself: its own column must hold 0", loser)
    row, column = np.nonzero(winners[:, None] != np.array(losers, dtype=object))
    return Comparisons(
        rows,
        row,
        (corner, corner),
        winners[row],
        np.array(losers, dtype=object)[column],
        np.ones(len(row)),
        counts[row, column],
    )
