r"""Elementwise functions for losses, on numpy arrays and torch tensors alike.

A loss meets log-ratios of any size. ``exp(800)`` is inf, ``inf - inf`` is nan, and one nan ends a training run. The
functions here saturate where the plain ones overflow, keep their digits in both tails, and have torch derivatives that
are finite and, where the function has not ended in a constant, not zero:

    exp, expm1           e^x and e^x - 1, capped at about 1e294 in float64 and 4e24 in float32
    sigmoid              1 / (1 + e^-x)
    log_sigmoid          log sigmoid(x)
    softplus             log(1 + e^x)
    hinge                max(0, x)
    log_odds             log(p / (1 - p)), from log p

Each takes an array (float16, float32 or float64; for torch bfloat16 too) or a Python number, which counts as float64,
and returns the same kind, shape and dtype. torch tensors keep autograd. Anything else raises a TypeError. `namespace`
gives the array functions (``log``, ``where``, ``sum``, ...) that fit the arguments, under the names of the Python array
API standard, for what is not here.

Example:
    >>> import numpy as np
    >>> from expo_analysis.numerics import exp, log_sigmoid
    >>> bool(np.isfinite(exp(np.array([1e6])))[0])
    True
    >>> log_sigmoid(np.array([-1000.0, 0.0, 40.0]))
    array([-1.00000000e+03, -6.93147181e-01, -4.24835426e-18])
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import array_api_compat
import array_api_compat.numpy
import numpy as np

from ._types import Array

__all__ = [
    "Array",
    "cap_exponent",
    "exp",
    "exp_expm1",
    "expm1",
    "hinge",
    "log_odds",
    "log_sigmoid",
    "log_sigmoids",
    "namespace",
    "rise_and_fall",
    "sigmoid",
    "softplus",
]


def namespace(*arrays: Array) -> Any:
    """The functions for these arrays: a module with the names of the Python array API standard.

    Args:
        arrays: numpy arrays, or torch tensors.

    Returns:
        ``array_api_compat.numpy`` or ``array_api_compat.torch``.

    Raises:
        TypeError: the two are mixed, or nothing is an array.

    Example:
        >>> x = np.array([-1.0, 2.0])
        >>> namespace(x).where(x > 0, x, 0.0)
        array([0., 2.])
    """
    if all(type(array) is np.ndarray for array in arrays):  # needs no search
        return array_api_compat.numpy
    return array_api_compat.array_namespace(*arrays)


def _floats(x: Array) -> Array:
    """The argument, if it holds floats; a Python number as numpy's float64."""
    # is_torch_array looks torch up among the loaded modules, and imports nothing
    if (type(x) is np.ndarray and x.dtype.kind == "f") or (
        array_api_compat.is_torch_array(x) and x.is_floating_point()
    ):
        return x
    if isinstance(x, (int, float)) and not isinstance(x, bool):  # numpy's float64 is a float too
        return np.float64(x)
    if isinstance(x, np.ndarray | np.generic) and x.dtype.kind == "f":  # a subclass, or another scalar
        return x
    kind = f"dtype {x.dtype}" if hasattr(x, "dtype") else type(x).__name__
    raise TypeError(f"x must be a number, or a numpy array or torch tensor of floats; got {kind}")


def log_sigmoid(x: Array) -> Array:
    r"""log sigma(x) = -log(1 + e^-x), in (-inf, 0].

    It does not overflow: far out on the left it is x. Far out on the right it is -e^-x to full relative accuracy. The
    derivative, sigma(-x), is exact at 0.

    Args:
        x: any floats, of any shape; nan gives nan.

    Example:
        >>> log_sigmoid(np.array([-1e6, 0.0]))
        array([-1.00000000e+06, -6.93147181e-01])
    """
    x = _floats(x)
    if array_api_compat.is_torch_array(x):
        # torch.logaddexp has nan second derivatives far out and softplus a cut-off at 20; this has neither.
        from torch.nn.functional import logsigmoid

        return logsigmoid(x)
    return log_sigmoids(x)[0]


def log_sigmoids(x: Array) -> tuple[Array, Array]:
    """log sigma(x) and log sigma(-x), each as `log_sigmoid`; numpy takes one logarithm for both."""
    x = _floats(x)
    if array_api_compat.is_torch_array(x):
        return log_sigmoid(x), log_sigmoid(-x)
    low, high = np.minimum(x, 0), np.maximum(x, 0)
    both = np.log1p(np.exp(low - high))  # low - high = -|x|: nothing overflows
    return low - both, -high - both


def softplus(x: Array) -> Array:
    r"""log(1 + e^x) = -log sigma(-x), in [0, inf): the logistic loss of -x, and a smooth max(0, x).

    Args:
        x: any floats, of any shape; nan gives nan. It does not overflow: far out on the right it is x.

    Example:
        >>> softplus(np.array([-800.0, 0.0, 800.0]))
        array([0.00000000e+00, 6.93147181e-01, 8.00000000e+02])
    """
    return 0.0 - log_sigmoid(-_floats(x))  # not -0.0 on the left


def hinge(x: Array) -> Array:
    """max(0, x), with derivative 0 at its kink; a margin loss is ``hinge(1 - margin)``.

    Args:
        x: any floats, of any shape; nan gives nan.

    Example:
        >>> hinge(np.array([-2.0, 0.0, 3.0]))
        array([0., 0., 3.])
    """
    x = _floats(x)
    return x.relu() if array_api_compat.is_torch_array(x) else np.maximum(x, 0)


def sigmoid(x: Array) -> Array:
    """sigma(x) = 1 / (1 + e^-x), in [0, 1], to full relative accuracy in the left tail.

    Args:
        x: any floats, of any shape; nan gives nan.

    Example:
        >>> sigmoid(np.array([-100.0, 0.0]))
        array([3.72007598e-44, 5.00000000e-01])
    """
    x = _floats(x)
    if array_api_compat.is_torch_array(x):
        return x.sigmoid()
    from scipy.special import expit

    return expit(x)


def cap_exponent(x: Array, power: int = 1) -> Array:
    """min(x, cap), with derivative 1 everywhere; exp of it is finite and keeps a non-zero gradient.

    The cap is 32 below the logarithm of the largest float (677 in float64, 56 in float32), which leaves room to
    multiply, divided by ``power``, which leaves room to take that power. Values beyond exp(cap) saturate there instead
    of turning into inf and nan.

    Args:
        x: exponents, any floats of any shape; nan gives nan.
        power: to which power the exponential will be taken, at least 1.

    Example:
        >>> cap_exponent(np.array([1.0, 1e9])).round(2)
        array([  1.  , 677.78])
    """
    x = _floats(x)
    xp = namespace(x)
    largest = float(xp.finfo(x.dtype).max)
    cap = (math.log(largest) - 32.0) / power
    if not array_api_compat.is_torch_array(x):
        return np.minimum(x, x.dtype.type(cap))
    if _caps_met is not None:
        _caps_met.append((x > cap).detach())
    capped, passed = x.clamp(max=cap), x.clamp(max=largest)  # inf - inf is nan
    # the value of the cap with the derivative of x: beyond it, a loss still pulls
    return xp.where(x > cap, capped.detach() + (passed - passed.detach()), x)


_caps_met: list[Array] | None = None


@contextmanager
def caps_met() -> Iterator[list[Array]]:
    """Where torch exponents meet the cap while this lasts: a mask for each call of `cap_exponent`.

    There a value no longer follows its derivative, on purpose, and cannot be held against it.

    Example:
        >>> import torch
        >>> with caps_met() as masks:
        ...     value = exp(torch.tensor([0.0, 1e9]))
        >>> masks
        [tensor([False,  True])]
    """
    global _caps_met
    before, _caps_met = _caps_met, []
    try:
        yield _caps_met
    finally:
        _caps_met = before


def exp(x: Array) -> Array:
    """e^x, in [0, e^cap]: it saturates at the cap of `cap_exponent` instead of overflowing.

    The derivative is the value, beyond the cap too, and so is never zero where x pulls hardest.

    Args:
        x: any floats, of any shape; nan gives nan.

    Example:
        >>> exp(np.array([0.0, 1e9]))
        array([1.00000000e+000, 2.27662835e+294])
    """
    x = cap_exponent(x)
    return namespace(x).exp(x)


def expm1(x: Array) -> Array:
    """e^x - 1, in [-1, e^cap]: accurate near 0, with accurate derivatives, and saturating like `exp`.

    Args:
        x: any floats, of any shape; nan gives nan.

    Example:
        >>> expm1(np.array([1e-20, -1e9]))
        array([ 1.e-20, -1.e+00])
    """
    x = cap_exponent(x)
    xp = namespace(x)
    if not array_api_compat.is_torch_array(x):
        return xp.expm1(x)
    # torch differentiates expm1(x) as expm1(x) + 1, which is 0 far out on the left
    return xp.where(x < -1, xp.exp(x) - 1, xp.expm1(x))


def exp_expm1(scale: Array, x: Array) -> Array:
    """e^scale (e^x - 1), in which e^x does not overflow, nor e^scale underflow, before the product does.

    It saturates where scale + max(x, 0) is above the cap of `cap_exponent`.

    Args:
        scale, x: floats of one kind and dtype whose shapes broadcast.

    Example:
        >>> exp_expm1(np.array([-700.0]), np.array([700.0]))
        array([1.])
    """
    x = _floats(x)
    rise, fall = rise_and_fall(x)
    return exp(scale + rise) * namespace(x).where(x > 0, -expm1(fall), expm1(fall))


def log_odds(log_p: Array) -> Array:
    """log(p / (1 - p)) from log p, accurate for p near 0 and near 1.

    p = 1 has no odds: p counts as 1 - e^-338 at most in float64 and 1 - e^-28 in float32, with the derivative there.

    Args:
        log_p: floats of any shape, at most 0; -inf gives -inf.

    Example:
        >>> log_odds(np.log(np.array([0.5, 0.9])))
        array([0.        , 2.19722458])
    """
    log_p = _floats(log_p)
    xp = namespace(log_p)
    ceiling = log_odds_ceiling(log_p)
    if array_api_compat.is_torch_array(log_p):  # the derivative goes on where the value is held back
        below = xp.where(log_p > ceiling, log_p + (log_p.clamp(max=ceiling) - log_p).detach(), log_p)
    else:
        below = np.minimum(log_p, ceiling)
    return log_p - xp.log(-expm1(below))


def log_odds_ceiling(log_p: Array) -> float:
    """The largest log-probability of an array's dtype that `log_odds` tells from 0."""
    return -math.exp((32.0 - math.log(float(namespace(log_p).finfo(log_p.dtype).max))) / 2)


def rise_and_fall(x: Array) -> tuple[Array, Array]:
    """max(x, 0) and -|x|, with the derivatives 0 and 1 at x = 0: e^x = e^rise e^fall where one of the two is 1.

    Args:
        x: any floats, of any shape.
    """
    x = _floats(x)
    xp = namespace(x)
    return xp.where(x > 0, x, xp.zeros_like(x)), xp.where(x > 0, -x, x)
