"""A tie is one comparison, and half a win of each: what is drawn or left out keeps both halves together."""

from __future__ import annotations

import numpy as np

from .._types import Floats, Indices
from ..bandit.paired import Comparisons


def kinds(comparisons: Comparisons) -> Floats:
    """How many comparisons there are of each kind: of each win, and behind these of each tie."""
    tied = comparisons.tied
    return comparisons.weight if tied is None else np.concatenate([comparisons.weight - tied, 2 * _ties(comparisons)])


def wins(comparisons: Comparisons, drawn: Floats) -> Floats:
    """Weights (R, E) of wins from how many there are of each kind, (R, kinds)."""
    if comparisons.tied is None:
        return drawn
    size = len(comparisons.weight)
    found, halves = drawn[:, :size].copy(), drawn[:, size:] / 2
    up, down = _sides(comparisons)
    found[:, up] += halves
    found[:, down] += halves
    return found


def _ties(comparisons: Comparisons) -> Floats:
    assert comparisons.tied is not None
    return np.asarray(comparisons.tied[_sides(comparisons)[0]])


def _sides(comparisons: Comparisons) -> tuple[Indices, Indices]:
    """Where the two halves of each pair that tied stand among the wins."""
    assert comparisons.tied is not None
    some = comparisons.tied > 0
    up = np.flatnonzero(some & (comparisons.winner > comparisons.loser))
    keys = comparisons.winner * comparisons.n + comparisons.loser  # sorted
    return up, np.searchsorted(keys, comparisons.loser[up] * comparisons.n + comparisons.winner[up])
