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

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit

from ..._types import Floats, Indices, Mask

Bounds = tuple[Floats, Floats]

LARGEST = float(np.finfo(np.float64).max)
SMALLEST = 1e-307
ARITHMETIC, ELEMENTARY = 2.0**-52, 2.0**-49
"""How far outwards results are rounded, relative to their size: + - * / err by half an ulp, functions by a few."""


def outward(low: Floats, high: Floats, by: float = ARITHMETIC) -> Bounds:
    """Bounds moved apart by more than rounding can have moved them; what is not known is infinite.

    By arithmetic, but for products that underflow, 0 is exact; functions may underflow.
    """
    low = np.fmin(np.where(np.isnan(low), -np.inf, low), LARGEST)
    high = np.fmax(np.where(np.isnan(high), np.inf, high), -LARGEST)
    least = (SMALLEST * (low != 0), SMALLEST * (high != 0)) if by == ARITHMETIC else (SMALLEST, SMALLEST)
    return low - (by * np.abs(low) + least[0]), high + (by * np.abs(high) + least[1])


def plus(a: Bounds, b: Bounds) -> Bounds:
    """a + b."""
    return outward(a[0] + b[0], a[1] + b[1])


def times(a: Bounds, b: Bounds) -> Bounds:
    """a b, where 0 times what has no bound is 0: infinite bounds are never attained."""
    products = [_times(x, y) for x in a for y in b]
    low, high = products[0], products[0]
    for product in products[1:]:
        low, high = np.minimum(low, product), np.maximum(high, product)
    if not (low.all() and high.all()):
        for x, y in ((x, y) for x in a for y in b):
            lost = (x != 0) & (y != 0) & (_times(x, y) == 0)  # a product that underflows
            low, high = (
                np.where(lost, np.minimum(low, -SMALLEST), low),
                np.where(lost, np.maximum(high, SMALLEST), high),
            )
    return outward(low, high)


def _times(x: Floats, y: Floats) -> Floats:
    with np.errstate(invalid="ignore", over="ignore"):
        product = np.asarray(x * y)
    return np.where(np.isnan(product), 0.0, product)


def hull(a: Bounds, b: Bounds) -> Bounds:
    """What holds a and b."""
    return np.minimum(a[0], b[0]), np.maximum(a[1], b[1])


def total(bounds: Bounds) -> Bounds:
    """The sum over the first axis."""
    low, high = (np.asarray(x.sum(axis=0)) for x in bounds)
    below, above = (len(x) * ARITHMETIC * _known(np.abs(x).sum(axis=0)) for x in bounds)
    return outward(low - below, high + above)


def _known(size: Floats) -> Floats:
    """Sizes that rounding is relative to; of what has no bound there is none."""
    return np.where(np.isfinite(size), size, 0.0)


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
            one, other = (_times(step, x) for x in bounds)
            least, most = np.minimum(one, other), np.maximum(one, other)
            low, high = low + least, high + most
            below, above = below + np.abs(least), above + np.abs(most)
        slack = 4 * ARITHMETIC
        return outward(low - slack * _known(below), high + slack * _known(above))

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
        return Jet(_negative(self.value), None if self.slope is None else _negative(self.slope))

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
            times(one.slope, _front(two.value)) for one, two in ((self, other), (other, self)) if one.slope is not None
        ]
        slope = None if not slopes else slopes[0] if len(slopes) == 1 else plus(slopes[0], slopes[1])
        return Jet(times(self.value, other.value), slope)

    def _times_exponential(self, constant: Bounds) -> Jet:
        """y e^(y + k) of a linear y, given the constant of y + k: it vanishes where y has no bound from below."""
        assert self.linear is not None
        factor = positive(rising(np.exp, plus(constant, _negative(self.linear.constant))))
        value, derivative = (times(factor, _valley(self.value, -1.0 - k, k)) for k in (0.0, 1.0))
        return self.through(value, derivative)

    def through(self, value: Bounds, derivative: Bounds) -> Jet:
        """A function of it, from bounds of its value and of its derivative."""
        return Jet(value, None if self.slope is None else times(_front(derivative), self.slope))


def _front(bounds: Bounds) -> Bounds:
    return bounds[0][None], bounds[1][None]


def _negative(bounds: Bounds) -> Bounds:
    return -bounds[1], -bounds[0]


def _like(shape_of: Floats, steps: Floats, of_log: Floats) -> tuple[Floats, Floats]:
    shape = np.broadcast_shapes(shape_of.shape, of_log.shape)
    return np.broadcast_to(steps, (len(steps), *shape)), np.broadcast_to(of_log, shape)


# ------------------------------------------------------------------------------------------------- functions of a jet


def rising(f: Callable[[Floats], Floats], x: Bounds) -> Bounds:
    """Bounds of a function that never falls."""
    with np.errstate(all="ignore"):
        return outward(np.asarray(f(x[0])), np.asarray(f(x[1])), ELEMENTARY)


def falling(f: Callable[[Floats], Floats], x: Bounds) -> Bounds:
    """Bounds of a function that never rises."""
    return rising(f, (x[1], x[0]))


def peaked(f: Callable[[Floats], Floats], x: Bounds) -> Bounds:
    """Bounds of a function that rises up to 0 and falls behind it."""
    nearest = np.clip(0.0, x[0], x[1])
    with np.errstate(all="ignore"):
        return outward(np.minimum(f(x[0]), f(x[1])), np.asarray(f(nearest)), ELEMENTARY)


def _valley(y: Bounds, lowest: float, k: float) -> Bounds:
    """Bounds of (y + k) e^y, which falls up to its only minimum and rises from there on."""

    def f(v: Floats) -> Floats:
        return np.where(v < -700, 0.0, (v + k) * np.exp(np.maximum(v, -700)))

    with np.errstate(all="ignore"):
        ends = [f(v) for v in y]
        return outward(f(np.clip(lowest, *y)), np.maximum(*ends), ELEMENTARY)


def positive(x: Bounds) -> Bounds:
    """max(x, 0), where nothing below is in the domain."""
    return np.maximum(x[0], 0.0), np.maximum(x[1], 0.0)


def exp(x: Jet) -> Jet:
    """e^x."""
    value = positive(rising(np.exp, x.value))
    found = x.through(value, value)
    return found if x.linear is None else Jet(found.value, found.slope, exponent=x.linear)


def expm1(x: Jet) -> Jet:
    """e^x - 1."""
    return x.through(rising(np.expm1, x.value), positive(rising(np.exp, x.value)))


def log(x: Jet) -> Jet:
    """log x, of what is above 0."""
    within = positive(x.value)
    return x.through(rising(np.log, within), falling(lambda v: 1 / v, within))


def log1p(x: Jet) -> Jet:
    """log(1 + x), of what is above -1."""
    within = np.maximum(x.value[0], -1.0), np.maximum(x.value[1], -1.0)
    return x.through(rising(np.log1p, within), falling(lambda v: 1 / (1 + v), within))


def sigmoid(x: Jet) -> Jet:
    """1/(1 + e^-x)."""
    return x.through(positive(rising(expit, x.value)), positive(peaked(lambda v: expit(v) * expit(-v), x.value)))


def log_sigmoid(x: Jet) -> Jet:
    """log sigma(x)."""
    value = rising(lambda v: np.minimum(v, 0.0) - np.log1p(np.exp(-np.abs(v))), x.value)
    return x.through((value[0], np.minimum(value[1], 0.0)), positive(falling(lambda v: expit(-v), x.value)))


def tanh(x: Jet) -> Jet:
    """tanh x."""
    return x.through(rising(np.tanh, x.value), positive(peaked(lambda v: 4 * expit(2 * v) * expit(-2 * v), x.value)))


def arctan(x: Jet) -> Jet:
    """arctan x."""
    return x.through(rising(np.arctan, x.value), positive(peaked(lambda v: 1 / (1 + v * v), x.value)))


def sqrt(x: Jet) -> Jet:
    """The square root, of what is not below 0."""
    within = positive(x.value)
    return x.through(rising(np.sqrt, within), positive(falling(lambda v: 0.5 / np.sqrt(v), within)))


def square(x: Jet) -> Jet:
    """x^2, which is nowhere below 0."""
    value = times(x.value, x.value)
    inside = (x.value[0] <= 0) & (x.value[1] >= 0)
    return x.through((np.where(inside, 0.0, np.maximum(value[0], 0.0)), value[1]), times((_two, _two), x.value))


_two = np.asarray(2.0)


def reciprocal(x: Jet) -> Jet:
    """1/x; nothing is known of it where 0 is in the bounds."""
    low, high = x.value
    known = ((low >= 0) & (high > 0)) | (high < 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = outward(np.where(known, 1 / high, -np.inf), np.where(known, 1 / np.where(low == 0, 0.0, low), np.inf))
    slope = times(bounds, bounds)
    return x.through(bounds, _negative((np.where(known, np.maximum(slope[0], 0.0), -np.inf), slope[1])))


def absolute(x: Jet) -> Jet:
    """|x|; at its kink the slope may be anything from -1 to 1."""
    low, high = x.value
    value = np.where((low <= 0) & (high >= 0), 0.0, np.minimum(np.abs(low), np.abs(high)))
    return x.through(
        (value, np.maximum(np.abs(low), np.abs(high))), (np.where(low >= 0, 1.0, -1.0), np.where(high <= 0, -1.0, 1.0))
    )


def larger(x: Jet, y: Jet) -> Jet:
    """max(x, y); it is continuous, so that where either may be the larger one its slope is between theirs."""
    value = np.maximum(x.value[0], y.value[0]), np.maximum(x.value[1], y.value[1])
    return Jet(value, _chosen(x.value[0] >= y.value[1], y.value[0] >= x.value[1], x, y))


def either(yes: Mask, no: Mask, x: Jet, y: Jet) -> Jet:
    """x where ``yes``, y where ``no``, either of them where neither is known; where the choice changes they meet."""
    both = hull(x.value, y.value)
    value = [np.where(yes, a, np.where(no, b, c)) for a, b, c in zip(x.value, y.value, both, strict=True)]
    return Jet((value[0], value[1]), _chosen(yes, no, x, y))


def choose(yes: Mask, no: Mask, x: Jet, y: Jet) -> Jet:
    """The same of what may jump where the choice changes: nothing is known of the slope there."""
    found, known = either(yes, no, x, y), yes | no
    if np.all(known):
        return found
    low, high = (np.zeros(1), np.zeros(1)) if found.slope is None else found.slope
    return Jet(found.value, (np.where(known, low, -np.inf), np.where(known, high, np.inf)))


def _chosen(yes: Mask, no: Mask, x: Jet, y: Jet) -> Bounds | None:
    if x.slope is None and y.slope is None:
        return None
    zero = (np.zeros(1), np.zeros(1))
    a, b = (zero if s is None else s for s in (x.slope, y.slope))
    both = hull(a, b)
    return np.where(yes, a[0], np.where(no, b[0], both[0])), np.where(yes, a[1], np.where(no, b[1], both[1]))
