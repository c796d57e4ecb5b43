"""Elementwise numerics shared by numpy and torch, and the one shape check."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import array_api_compat
import array_api_compat.numpy
import numpy as np

Array = Any
"""A numpy array or a torch tensor; every function here returns the kind it was given."""


def namespace(*arrays: Array) -> Any:
    """The array-API namespace of numpy arrays or torch tensors (mixing the two is an error)."""
    if all(type(array) is np.ndarray for array in arrays):  # needs no search
        return array_api_compat.numpy
    return array_api_compat.array_namespace(*arrays)


def log_sigmoid(x: Array) -> Array:
    """log sigma(x) = -log(1 + exp(-x)), without overflow and with exact derivatives at 0."""
    if array_api_compat.is_torch_array(x):
        # torch.logaddexp has nan second derivatives far out and softplus a cut-off at 20; this has neither.
        from torch.nn.functional import logsigmoid

        return logsigmoid(x)
    return log_sigmoids(x)[0]


def log_sigmoids(x: Array) -> tuple[Array, Array]:
    """log sigma(x) and log sigma(-x), as `log_sigmoid`; numpy takes one logarithm for both."""
    if array_api_compat.is_torch_array(x):
        return log_sigmoid(x), log_sigmoid(-x)
    xp = namespace(x)
    low, high = xp.minimum(x, xp.zeros_like(x)), xp.maximum(x, xp.zeros_like(x))
    both = xp.log1p(xp.exp(low - high))
    return low - both, -high - both


def sigmoid(x: Array) -> Array:
    """sigma(x) = 1 / (1 + exp(-x)), to full relative accuracy in both tails."""
    if array_api_compat.is_torch_array(x):
        return x.sigmoid()
    from scipy.special import expit

    return expit(x)


def cap_exponent(x: Array, power: int = 1) -> Array:
    """min(x, cap), with derivative 1 everywhere; exp of it is finite and keeps a non-zero gradient.

    The cap is 32 below the logarithm of the largest float (677 in float64, 56 in float32), which leaves room to
    multiply, divided by ``power``, which leaves room to take that power. Values beyond exp(cap) saturate there instead
    of turning into inf and nan.
    """
    xp = namespace(x)
    largest = float(xp.finfo(x.dtype).max)
    cap = (math.log(largest) - 32.0) / power
    if not array_api_compat.is_torch_array(x):
        return np.minimum(x, x.dtype.type(cap))
    capped = xp.clip(x, None, cap)
    passed = xp.clip(x, None, largest)  # inf - inf is nan
    return xp.where(x > cap, capped.detach() + (passed - passed.detach()), x)


def exp(x: Array) -> Array:
    """exp(x), saturating at the cap of `cap_exponent` instead of overflowing."""
    return namespace(x).exp(cap_exponent(x))


def expm1(x: Array) -> Array:
    """exp(x) - 1, accurate near 0 and with accurate derivatives, saturating at the cap of `cap_exponent`."""
    xp = namespace(x)
    x = cap_exponent(x)
    if not array_api_compat.is_torch_array(x):
        return xp.expm1(x)
    # torch differentiates expm1(x) as expm1(x) + 1, which is 0 far out on the left
    return xp.where(x < -1, xp.exp(x) - 1, xp.expm1(x))


def exp_expm1(scale: Array, x: Array) -> Array:
    """exp(scale) (exp(x) - 1), in which neither factor overflows or underflows before the product does."""
    rise, fall = rise_and_fall(x)
    xp = namespace(x)
    return exp(scale + rise) * xp.where(x > 0, -expm1(fall), expm1(fall))


def log_odds(log_p: Array) -> Array:
    """log p/(1-p) from log p <= 0, accurate for p near 0 and near 1.

    p = 1 has no odds: p counts as 1 - exp(-338) at most in float64, 1 - exp(-28) in float32, with the derivative there.
    """
    xp = namespace(log_p)
    below = xp.clip(log_p, None, log_odds_ceiling(log_p))
    if array_api_compat.is_torch_array(log_p):  # the derivative goes on where the value is held back
        below = log_p + (below - log_p).detach()
    return log_p - xp.log(-expm1(below))


def log_odds_ceiling(log_p: Array) -> float:
    """The largest log-probability of an array's dtype that `log_odds` tells from 0."""
    return -math.exp((32.0 - math.log(float(namespace(log_p).finfo(log_p.dtype).max))) / 2)


def rise_and_fall(x: Array) -> tuple[Array, Array]:
    """max(x, 0) and -|x|, with the derivatives 0 and 1 at x = 0."""
    xp = namespace(x)
    return xp.where(x > 0, x, xp.zeros_like(x)), xp.where(x > 0, -x, x)


def check_same_shape(**arrays: Array) -> None:
    """Raise unless all named arrays are floating-point arrays of one kind, shape and dtype."""
    names = list(arrays)
    for name, array in arrays.items():
        if not array_api_compat.is_array_api_obj(array):
            raise TypeError(f"{name} must be a numpy array or a torch tensor, got {type(array).__name__}")
    xp = namespace(*arrays.values())
    first = arrays[names[0]]
    for name, array in arrays.items():
        if not xp.isdtype(array.dtype, "real floating"):
            raise TypeError(f"{name} must hold floats, got dtype {array.dtype}")
        if array.shape != first.shape:
            raise ValueError(
                f"{name} must have the shape of {names[0]}, {tuple(first.shape)}; got {tuple(array.shape)}"
            )
        if array.dtype != first.dtype:
            raise TypeError(f"{name} must have the dtype of {names[0]}, {first.dtype}; got {array.dtype}")


def by_torch(function: Callable[[Array], Array], m: Array) -> tuple[Array, Array]:
    """First and second derivative of an elementwise function at a numpy array, by torch."""
    import torch

    x = torch.from_numpy(np.ascontiguousarray(m)).requires_grad_(True)
    first = _derivative(function(x), x)
    second = _derivative(first, x)
    return first.detach().numpy(), second.detach().numpy()


def _derivative(values: Any, x: Any) -> Any:
    import torch

    if not values.requires_grad:
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(values.sum(), x, create_graph=True, allow_unused=True)
    return torch.zeros_like(x) if found is None else found
