"""Bounds of numbers, pairs of arrays (lower, upper), and arithmetic with them; every result is rounded outwards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...._types import Floats

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
    ends = [(x, y) for x in a for y in b]
    products = [product(x, y) for x, y in ends]
    low, high = products[0], products[0]
    for one in products[1:]:
        low, high = np.minimum(low, one), np.maximum(high, one)
    if not (low.all() and high.all()):
        for (x, y), one in zip(ends, products, strict=True):
            lost = (x != 0) & (y != 0) & (one == 0)  # a product that underflows
            low = np.where(lost, np.minimum(low, -SMALLEST), low)
            high = np.where(lost, np.maximum(high, SMALLEST), high)
    return outward(low, high)


def product(x: Floats, y: Floats) -> Floats:
    """x y, 0 where one of them is 0 and the other infinite."""
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.asarray(x * y)
    return np.where(np.isnan(found), 0.0, found)


def negative(bounds: Bounds) -> Bounds:
    """-a."""
    return -bounds[1], -bounds[0]


def hull(a: Bounds, b: Bounds) -> Bounds:
    """What holds a and b."""
    return np.minimum(a[0], b[0]), np.maximum(a[1], b[1])


def total(bounds: Bounds) -> Bounds:
    """The sum over the first axis."""
    low, high = (np.asarray(x.sum(axis=0)) for x in bounds)
    below, above = (len(x) * ARITHMETIC * known(np.abs(x).sum(axis=0)) for x in bounds)
    return outward(low - below, high + above)


def known(size: Floats) -> Floats:
    """Sizes that rounding is relative to; of what has no bound there is none."""
    return np.where(np.isfinite(size), size, 0.0)


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


def valley(y: Bounds, lowest: float, k: float) -> Bounds:
    """Bounds of (y + k) e^y, which falls up to its only minimum and rises from there on."""

    def f(v: Floats) -> Floats:
        return np.where(np.isneginf(v), 0.0, (v + k) * np.exp(v))

    with np.errstate(all="ignore"):
        ends = [f(v) for v in y]
        return outward(f(np.clip(lowest, *y)), np.maximum(*ends), ELEMENTARY)


def positive(x: Bounds) -> Bounds:
    """max(x, 0), where nothing below is in the domain."""
    return np.maximum(x[0], 0.0), np.maximum(x[1], 0.0)
