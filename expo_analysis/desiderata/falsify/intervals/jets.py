r"""Interval arithmetic with slopes: enclosures of functions of a policy over whole boxes of policies.

A box fixes the order of the responses by their probability and encloses the *gaps* g_1, ..., g_{n-1} >= 0 between the
log-probabilities of neighbours, infinite ones too. With c_r = g_1 + ... + g_r and L = log sum_r e^{-c_r},

    log pi of rank r = -c_r - L,     0 <= L <= log n,     dL/dg_k = -(the mass of the ranks behind the k-th gap).

All n! orders together are the simplex, and no difference of two infinite numbers ever arises: what is linear in
log-probabilities is linear in the gaps and L, where it is kept as it is (`Linear`), so that log-ratios have exact
bounds. Everything else is a `Jet`: bounds of a value and of its derivatives in the gaps. Every bound is rounded
outwards. [ours, elementary]

Arrays have the boxes as their last axis; pairs of arrays are (lower, upper) bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...._types import Floats, Indices, Mask
from .rounding import (
    ARITHMETIC,
    ELEMENTARY,
    Bounds,
    known,
    negative,
    outward,
    plus,
    positive,
    product,
    rising,
    times,
    valley,
)


@dataclass(frozen=True, eq=False)
class Boxes:
    """low, high: bounds of the gaps, (n - 1, B). order: which response has which rank, (n, B)."""

    low: Floats
    high: Floats
    order: Indices

    @property
    def n(self) -> int:
        return len(self.order)

    @property
    def size(self) -> int:
        return self.order.shape[1]

    def take(self, chosen: Indices | Mask) -> Boxes:
        """Some of the boxes."""
        return Boxes(self.low[:, chosen], self.high[:, chosen], self.order[:, chosen])

    @property
    def finite(self) -> Mask:
        """(B,), whether all gaps are."""
        return np.asarray(np.isfinite(self.high).all(axis=0))

    @cached_property
    def rank(self) -> Indices:
        """The rank of each response, (n, B)."""
        return np.argsort(self.order, axis=0)

    @cached_property
    def behind(self) -> tuple[Bounds, ...]:
        """c_r, r = 0, ..., n - 1, (B,) each."""
        found = [(np.zeros(self.size), np.zeros(self.size))]
        for gap in zip(self.low, self.high, strict=True):
            found.append(plus(found[-1], gap))
        return tuple((np.maximum(low, 0.0), high) for low, high in found)

    @cached_property
    def log_normaliser(self) -> Bounds:
        """L, (B,), which falls in every gap."""
        ends = (sum(np.exp(-c[end]) for c in self.behind[1:]) for end in (1, 0))
        low, high = (np.log1p(rest) for rest in ends)
        low, high = outward(low, high, ELEMENTARY)
        return np.maximum(low, 0.0), high

    @cached_property
    def masses_behind(self) -> Bounds:
        """The mass of the ranks behind each gap, (n - 1, B), which falls in every gap."""
        ends = []
        for end in (1, 0):
            weights = np.exp(-np.stack([c[end] for c in self.behind]))
            tails = np.cumsum(weights[::-1], axis=0)[::-1]
            ends.append(tails[1:] / tails[0])
        low, high = outward(ends[0], ends[1], ELEMENTARY)
        return np.maximum(low, 0.0), np.minimum(high, 1.0)

    @cached_property
    def policies(self) -> Bounds:
        """pi of each response, (n, B): 1/sum_s e^(c_r - c_s), of which each summand has one sign in every gap."""
        lows, highs = [], []
        gaps = (self.low, self.high)
        for r in range(self.n):
            sums = []
            for end in (0, 1):  # pi is least where the gaps before it are large and those behind it are small
                before, after = gaps[1 - end], gaps[end]
                with np.errstate(over="ignore"):
                    summands = [np.exp(before[s:r].sum(axis=0)) for s in range(r)] + [np.ones(self.size)]
                summands += [np.exp(-after[r:s].sum(axis=0)) for s in range(r + 1, self.n)]
                sums.append(sum(summands))
            lows.append(1 / sums[0])
            highs.append(1 / sums[1])
        low, high = outward(np.stack(lows), np.stack(highs), 4 * ELEMENTARY)
        by_rank = np.maximum(low, 0.0), np.minimum(high, 1.0)
        found = tuple(np.take_along_axis(x, self.rank, axis=0) for x in by_rank)
        return found[0], found[1]

    def log_policy(self, response: Indices) -> Jet:
        """log pi of these responses (E,), (E, B)."""
        rank = self.rank[response]
        steps = np.stack([np.where(rank > k, -1.0, 0.0) for k in range(self.n - 1)])
        zero = np.zeros(rank.shape)
        return Jet.linear_in(Linear(self, steps, np.full(rank.shape, -1.0), (zero, zero)))


@dataclass(frozen=True, eq=False)
class Linear:
    """sum_k steps_k g_k + of_log L + constant: steps (n - 1, ..., B), of_log (..., B), bounds of the constant."""

    boxes: Boxes
    steps: Floats
    of_log: Floats
    constant: Bounds

    def value(self) -> Bounds:
        """Bounds of it."""
        low, high = self.constant
        below, above = np.abs(low), np.abs(high)
        for step, bounds in (
            *zip(self.steps, zip(self.boxes.low, self.boxes.high, strict=True), strict=True),
            (self.of_log, self.boxes.log_normaliser),
        ):
            one, other = (product(step, x) for x in bounds)
            least, most = np.minimum(one, other), np.maximum(one, other)
            low, high = low + least, high + most
            below, above = below + np.abs(least), above + np.abs(most)
        slack = 4 * ARITHMETIC
        return outward(low - slack * known(below), high + slack * known(above))

    def is_parallel(self, other: Linear) -> bool:
        """Whether the other one differs from it by a constant."""
        return all(np.array_equal(x, y) for x, y in ((self.steps, other.steps), (self.of_log, other.of_log)))

    def slope(self) -> Bounds:
        """Bounds of its derivatives, (n - 1, ..., B)."""
        low, high = self.boxes.masses_behind
        extra = (slice(None), *([None] * (self.of_log.ndim - 1)), slice(None))
        return plus((self.steps, self.steps), times((-high[extra], -low[extra]), (self.of_log, self.of_log)))


@dataclass(frozen=True, eq=False)
class Jet:
    """Bounds of a number, ``value`` (..., B), and of its derivatives in the gaps, ``slope`` (n - 1, ..., B).

    slope: None for what does not depend on the policy. linear: the same as a `Linear`, where it is one. exponent: what
    it is the exponential of, where that is linear.
    """

    value: Bounds
    slope: Bounds | None = None
    linear: Linear | None = None
    exponent: Linear | None = None

    @classmethod
    def linear_in(cls, linear: Linear) -> Jet:
        """What is linear."""
        return cls(linear.value(), linear.slope(), linear)

    @classmethod
    def constant(cls, number: Floats | float) -> Jet:
        """A number, or an array of numbers."""
        x = np.asarray(number, dtype=np.float64)
        return cls((x, x))

    @property
    def shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(self.value[0].shape, self.value[1].shape)

    @property
    def is_point(self) -> bool:
        """Whether it is a known number."""
        return self.slope is None and bool(np.all(self.value[0] == self.value[1]))

    def __add__(self, other: Jet) -> Jet:
        if self.linear is not None and (other.linear is not None or other.slope is None):
            a, b = self.linear, other.linear
            if b is None:
                moved = plus(a.constant, other.value)
                return Jet.linear_in(Linear(a.boxes, *_like(moved[0], a.steps, a.of_log), moved))
            return Jet.linear_in(Linear(a.boxes, a.steps + b.steps, a.of_log + b.of_log, plus(a.constant, b.constant)))
        if other.linear is not None and self.slope is None:
            return other + self
        slopes = [x.slope for x in (self, other) if x.slope is not None]
        slope = None if not slopes else slopes[0] if len(slopes) == 1 else plus(slopes[0], slopes[1])
        return Jet(plus(self.value, other.value), slope)

    def __neg__(self) -> Jet:
        if self.linear is not None:
            return self * Jet.constant(-1.0)
        return Jet(negative(self.value), None if self.slope is None else negative(self.slope))

    def __sub__(self, other: Jet) -> Jet:
        return self + (-other)

    def __mul__(self, other: Jet) -> Jet:
        if other.linear is not None and self.is_point:
            return other * self
        if self.linear is not None and other.is_point:
            a, c = self.linear, other.value[0]
            constant = times(a.constant, (c, c))
            return Jet.linear_in(Linear(a.boxes, c * a.steps, c * a.of_log, constant))
        for one, two in ((self, other), (other, self)):
            if one.exponent is not None and two.linear is not None and one.exponent.is_parallel(two.linear):
                return two._times_exponential(one.exponent.constant)
        slopes = [
            times(one.slope, front(two.value)) for one, two in ((self, other), (other, self)) if one.slope is not None
        ]
        slope = None if not slopes else slopes[0] if len(slopes) == 1 else plus(slopes[0], slopes[1])
        return Jet(times(self.value, other.value), slope)

    def _times_exponential(self, constant: Bounds) -> Jet:
        """y e^(y + k) of a linear y, given the constant of y + k: it vanishes where y has no bound from below."""
        assert self.linear is not None
        factor = positive(rising(np.exp, plus(constant, negative(self.linear.constant))))
        value, derivative = (times(factor, valley(self.value, -1.0 - k, k)) for k in (0.0, 1.0))
        return self.through(value, derivative)

    def through(self, value: Bounds, derivative: Bounds) -> Jet:
        """A function of it, from bounds of its value and of its derivative."""
        return Jet(value, None if self.slope is None else times(front(derivative), self.slope))


def front(bounds: Bounds) -> Bounds:
    return bounds[0][None], bounds[1][None]


def _like(shape_of: Floats, steps: Floats, of_log: Floats) -> tuple[Floats, Floats]:
    shape = np.broadcast_shapes(shape_of.shape, of_log.shape)
    return np.broadcast_to(steps, (len(steps), *shape)), np.broadcast_to(of_log, shape)
