"""What a `Problem` knows of pairs: psi of a log-ratio, for each ordered pair or for both directions taken together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._types import Floats, Indices
from ..losses.psi import Logistic, Psi
from ..losses.statistics import is_number

CACHED = 1 << 14
"""Numbers of each array that are worked on at a time, where it takes several, so that they stay in a cache."""


@dataclass(frozen=True, eq=False)
class Part:
    """A psi of slope (x_a - x_b), a and b the ends of a pair; slope is a number, (B,) or (E, B).

    relative: whether x are the logits less log pi_ref.
    """

    slope: Any
    relative: bool

    def margin(self, difference: Floats) -> Floats:
        """m, from x_a - x_b."""
        return difference if is_number(self.slope, 1) else self.slope * difference


@dataclass(frozen=True, eq=False)
class PairPart(Part):
    """sum_e weight_e psi(slope (x_w - x_l) - shift).

    psi, shift: with numbers, (B,) or (E, B). weight: (E, B). place: of the term among the objective's.
    """

    psi: Psi
    shift: Any
    weight: Floats
    place: int

    def margin(self, difference: Floats) -> Floats:
        """m, from x_w - x_l."""
        scaled = super().margin(difference)
        return scaled if is_number(self.shift, 0) else scaled - self.shift


@dataclass(frozen=True, eq=False)
class Merged(Part):
    """A logistic part of slope (x_high - x_low), both directions of each pair taken together: one sigma serves both.

    logistic: with weights for kept and flipped, (n(n-1)/2, B). size: the sums of the moduli of what these are sums of.
    """

    logistic: Logistic
    size: Floats

    def derivatives(self, difference: Floats) -> tuple[Floats, Floats]:
        """First and second derivative in x_high - x_low, weighted."""
        first, second = self.logistic.derivatives(self.margin(difference))
        return (first, second) if is_number(self.slope, 1) else (self.slope * first, self.slope * self.slope * second)

    def at_pairs(self, at: Floats, high: Indices, low: Indices) -> tuple[Floats, Floats]:
        """`derivatives` at x_high - x_low for x = ``at`` (n, B), a few pairs at a time where there are many."""
        first, second = np.empty((2, len(high), at.shape[1]))
        for some, own in self._split(len(high), at.shape[1]):
            difference = at.take(high[some], axis=0) - at.take(low[some], axis=0)
            first[some], second[some] = own.derivatives(difference)
        return first, second

    def _split(self, pairs: int, size: int) -> Iterator[tuple[slice, Merged]]:
        """So many pairs at a time that what a step takes stays in a cache."""
        rows = max(CACHED // size, 1)
        if pairs <= 2 * rows:
            yield slice(None), self
            return
        for start in range(0, pairs, rows):
            some = slice(start, start + rows)
            logistic = Logistic(self.logistic.kept[some], self.logistic.flipped[some])
            yield some, Merged(self.slope, self.relative, logistic, self.size[some])

    def value_at_pairs(self, at: Floats, high: Indices, low: Indices) -> Floats:
        """The part at x = ``at`` (n, B), (B,)."""
        found = np.zeros(at.shape[1])
        for some, own in self._split(len(high), at.shape[1]):
            difference = at.take(high[some], axis=0) - at.take(low[some], axis=0)
            found = found + own.logistic.value(own.margin(difference)).sum(axis=0)
        return found

    def take(self, columns: Indices) -> Merged:
        """The same at these positions of the batch."""
        kept, flipped = (x.take(columns, axis=-1) for x in (self.logistic.kept, self.logistic.flipped))
        slope = self.slope if np.ndim(self.slope) == 0 else np.take(self.slope, columns, axis=-1)
        return Merged(slope, self.relative, Logistic(kept, flipped), self.size.take(columns, axis=-1))


def merges(part: PairPart) -> bool:
    """Whether both directions of a pair can be taken together."""
    return type(part.psi) is Logistic and is_number(part.shift, 0) and np.ndim(part.slope) < 2
