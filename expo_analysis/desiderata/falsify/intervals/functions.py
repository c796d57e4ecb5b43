"""Functions of jets: each from bounds of its value and of its derivative."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from ...._types import Mask
from .jets import Jet
from .rounding import Bounds, falling, hull, negative, outward, peaked, positive, rising, times


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
    return x.through(bounds, negative((np.where(known, np.maximum(slope[0], 0.0), -np.inf), slope[1])))


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
