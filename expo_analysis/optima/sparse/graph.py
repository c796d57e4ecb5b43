r"""Pairs that were compared as the edges of a graph: sums over them, and products with their Laplacian.

No array here is larger than the number of pairs. A current along pair (high, low) flows from its low end into its high
end; a Laplacian H of weights w_e is H x = sum_e w_e (x_high - x_low) (e_high - e_low).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ..._types import Floats, Indices
from ..certificate import UNIT

LEVELS = 2
"""Parts, of 53 bits less those of the number of terms each, in which sums are exact."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Pairs high > low, (P,), sorted by both; the piece of each vertex, (n,), from 0 to count - 1, each connected."""

    high: Indices
    low: Indices
    piece: Indices
    count: int

    @property
    def n(self) -> int:
        return len(self.piece)

    @cached_property
    def _rows(self) -> csr_array:
        return matrix_of(self.n, self.high, self.low)

    def matrix(self, values: Floats) -> csr_array:
        """(n, n), with a value for each pair at (high, low), and 0 elsewhere."""
        found = copy.copy(self._rows)
        found.data = values
        return found

    def differences(self, x: Floats) -> Floats:
        """x_high - x_low, (P,)."""
        return np.asarray(x[self.high] - x[self.low])

    def at_ends(self, values: Floats) -> Floats:
        """The sum over the pairs of each vertex, (n,)."""
        matrix, one = self.matrix(values), np.ones(self.n)
        return np.asarray(matrix @ one + matrix.T @ one)

    def inflow(self, currents: Floats) -> Floats:
        """What flows into each vertex, (n,)."""
        matrix, one = self.matrix(currents), np.ones(self.n)
        return np.asarray(matrix @ one - matrix.T @ one)

    def exact_inflow(self, currents: Floats) -> tuple[Floats, Floats]:
        """`inflow` as if summed with twice the digits and then rounded, and a bound on what that leaves, both (n,)."""
        most = self.largest_degree
        parts = _split(currents, most)
        total = np.zeros(self.n)
        for part in reversed(parts):
            total = self.inflow(part) + total
        top = float(np.abs(currents).max(initial=0.0))
        return total, 2 * UNIT * np.abs(total) + (most * UNIT) ** 2 * top

    @cached_property
    def largest_degree(self) -> int:
        """Pairs of the vertex that has most."""
        return int(np.bincount(np.concatenate([self.high, self.low]), minlength=self.n).max(initial=1))

    def laplacian(self, weights: Floats) -> tuple[Floats, Callable[[Floats], Floats]]:
        """The diagonal of the Laplacian of these weights, (n,), and its product with vectors (n,)."""
        below, diagonal = self.matrix(weights), self.at_ends(weights)
        above = below.T
        return diagonal, lambda x: np.asarray(diagonal * x - below @ x - above @ x)

    # ------------------------------------------------------------------------------------------------- piece by piece

    def totals(self, values: Floats) -> Floats:
        """The sum over the vertices of each piece, (count,)."""
        if self.count == 1:
            return np.array([values.sum()])
        return np.bincount(self.piece, values, minlength=self.count).astype(np.float64)

    def exact_totals(self, values: Floats) -> Floats:
        """`totals` to rounding of the result, however many vertices there are."""
        return exact_sums(self.piece, values, self.count)

    def pair_totals(self, values: Floats, pairs: Indices | None = None) -> Floats:
        """The sum over the pairs of each piece, (count,); of values of these ``pairs`` alone."""
        if self.count == 1:
            return np.array([values.sum()])
        high = self.high if pairs is None else self.high[pairs]
        return np.bincount(self.piece[high], values, minlength=self.count).astype(np.float64)

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """What belongs to each piece at each of its vertices, (n,); or once, where there is one piece."""
        return values if self.count == 1 else values[self.piece]

    def largest(self, values: Floats) -> Floats:
        """The largest of each piece, (count,)."""
        if self.count == 1:
            return np.array([values.max()])
        order, start = self._sorted
        return np.asarray(np.maximum.reduceat(values[order], start))

    def tops(self, values: Floats) -> Indices:
        """The vertex of each piece with the largest value, (count,)."""
        order = np.lexsort((values, self.piece))
        return np.asarray(order[np.append(np.flatnonzero(np.diff(self.piece[order])), self.n - 1)])

    def range(self, values: Floats) -> Floats:
        """Largest less smallest of each piece, (count,)."""
        return self.largest(values) + self.largest(-values)

    def centred(self, values: Floats) -> Floats:
        """Less the middle of each piece's range."""
        return np.asarray(values - self.spread((self.largest(values) - self.largest(-values)) / 2))

    @cached_property
    def _sorted(self) -> tuple[Indices, Indices]:
        order = np.argsort(self.piece, kind="stable")
        sizes = np.bincount(self.piece, minlength=self.count)
        return order, np.concatenate([[0], np.cumsum(sizes)[:-1]])


def matrix_of(n: int, row: Indices, column: Indices) -> csr_array:
    """(n, n), with a 1 at each (row, column), which are in the order of rows."""
    start = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))])
    small = np.int32 if max(n, len(row)) < np.iinfo(np.int32).max else np.int64
    return csr_array((np.ones(len(row)), column.astype(small), start.astype(small)), shape=(n, n))


def exact_sums(group: Indices, values: Floats, count: int) -> Floats:
    """The sum of the values of each group, (count,), to rounding of the result, however many there are."""
    parts = [np.bincount(group, part, minlength=count) for part in _split(values, len(values))]
    return np.asarray(sum(reversed(parts)))


def exact_sum(values: Floats) -> float:
    """The sum to rounding of the result, in whatever order."""
    return float(sum(part.sum() for part in reversed(_split(values, len(values)))))


def _split(values: Floats, most: int) -> list[Floats]:
    """Arrays that add up to ``values``, of which sums of up to ``most`` are exact, and a small one that is left."""
    parts = []
    for _ in range(LEVELS):
        top = float(np.abs(values).max(initial=0.0))
        if top == 0 or not np.isfinite(top):
            break
        # what is added and taken away again leaves multiples of 2^-53 of it, whose sums are below half of it
        unit = 2.0 ** (np.ceil(np.log2(top)) + np.ceil(np.log2(most)) + 2)
        head = (values + unit) - unit
        parts.append(head)
        values = values - head
    return [*parts, values]
