"""Sums of terms weight * psi(statistic): what a loss of pairs is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .._types import Array
from .data import Data, Datum, evaluate
from .psi import Linear, Logistic, Psi
from .statistics import Statistic, h, is_number


@dataclass(frozen=True, eq=False)
class Term:
    """weight * psi(statistic); the weight is a number, an array or `Data`."""

    psi: Psi
    statistic: Statistic
    weight: Any = 1.0

    def value(self, datum: Datum) -> Array:
        """One number for each datum of a batch."""
        psi = bound(self.psi, datum)
        value = psi.value(self.statistic.value(datum))
        weight = evaluate(self.weight, datum)
        return value if is_number(weight, 1) else weight * value

    def __str__(self) -> str:
        return str(Sum((self,)))

    @property
    def reads(self) -> frozenset[str]:
        """What it reads of a datum, by name."""
        own = self.weight.reads if isinstance(self.weight, Data) else frozenset()
        return self.statistic.reads | self.psi.reads | own


def bound(psi: Psi, datum: Datum) -> Psi:
    """The same with parameters that are data evaluated."""
    if not psi.reads:
        return psi
    values = {f.name: evaluate(getattr(psi, f.name), datum) for f in dataclasses.fields(psi)}
    return dataclasses.replace(psi, **values)


@dataclass(frozen=True, eq=False)
class Sum:
    """Terms that are added; made by ``psi(statistic) + psi(statistic)`` and by products with numbers."""

    terms: tuple[Term, ...]

    __array_ufunc__ = None  # numpy's arrays leave arithmetic to the methods below

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms)

    def __str__(self) -> str:
        """The formula, as in docs/losses.md: ``-log σ(0.1 h̄) - log π_w``."""
        from .notation import written_sum

        return written_sum(self)

    def __add__(self, other: Any) -> Sum:
        if not isinstance(other, Sum):
            return NotImplemented
        both = self.terms + other.terms
        return Sum(tuple(term for term in both if not is_number(term.weight, 0)) or both[:1])

    def __mul__(self, factor: Any) -> Sum:
        scaled = (dataclasses.replace(t, weight=factor if is_number(t.weight, 1) else factor * t.weight) for t in self)
        return Sum(tuple(scaled))

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Sum:
        return self * (1 / divisor)

    def __sub__(self, other: Any) -> Sum:
        return self + -1 * other if isinstance(other, Sum) else NotImplemented

    def value(self, datum: Datum) -> Array:
        """The loss of each datum of a batch."""
        first, *others = (term.value(datum) for term in self)
        return sum(others, start=first)

    @property
    def reads(self) -> frozenset[str]:
        """What the loss reads of a datum, by name."""
        return frozenset().union(*(term.reads for term in self))

    @cached_property
    def merged(self) -> Sum:
        """The same loss, logistic terms of one statistic, or of it and its negative, in one: more is known of these.

        Terms that are 0 are left out; if all are, 0 is written as a straight line in the log-ratio.
        """
        found: list[Term] = []
        for term in [term for term in self if not _is_nothing(term)] or Linear(0.0)(h):
            place = next((k for k, other in enumerate(found) if _direction(other, term)), None)
            if place is None:
                found.append(term)
            else:
                found[place] = _join(found[place], term)
        return Sum(tuple(found))


def _is_nothing(term: Term) -> bool:
    return is_number(term.weight, 0) or (type(term.psi) is Linear and is_number(term.psi.slope, 0))


def _direction(first: Term, second: Term) -> int:
    """1 or -1 where both are logistic, and the statistics are equal or opposite; else 0."""
    if not (type(first.psi) is Logistic and type(second.psi) is Logistic):
        return 0
    one, two = first.statistic, second.statistic
    values = ((one.scale, two.scale), (one.centre, two.centre), (one.offset, two.offset))
    if one.base == two.base and all(_same(a, b) for a, b in values):
        return 1
    opposite = two.base == (-one).base and _same(one.scale, two.scale)
    return -1 if opposite and all(is_number(x, 0) for pair in values[1:] for x in pair) else 0


def _same(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, (int, float)) and isinstance(b, (int, float)) and a == b)


def _join(first: Term, second: Term) -> Term:
    """weight psi of both terms as one, whose statistic is that of the first."""
    kept, flipped = (second.weight * x for x in (second.psi.kept, second.psi.flipped))  # type: ignore[attr-defined]
    if _direction(first, second) < 0:
        kept, flipped = flipped, kept
    own = first.psi
    psi = Logistic(first.weight * own.kept + kept, first.weight * own.flipped + flipped)  # type: ignore[attr-defined]
    return Term(psi, first.statistic)
