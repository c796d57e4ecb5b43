"""Derivatives by torch of functions that are given as code alone; torch is imported when the first one is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._threads import one_thread
from ._types import Array, Floats


def tensor(array: Floats) -> Any:
    """A tensor that shares an array's memory where it can."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))


def values(function: Callable[..., Array], *points: Floats) -> Floats:
    """An elementwise function's values at numpy arrays, computed by torch."""
    import torch

    with torch.no_grad(), one_thread():
        return np.asarray(function(*map(tensor, points)).numpy())


def derivatives(function: Callable[..., Array], *points: Floats) -> tuple[Floats, list[Floats], list[list[Floats]]]:
    """Values, first and second derivatives of an elementwise function of one array or more, at numpy arrays.

    Returns:
        values; first[i], the derivative in ``points[i]``; second[i][j], the one in ``points[i]`` and ``points[j]``.
    """
    with one_thread():
        inputs = [tensor(x).requires_grad_(True) for x in points]
        found = function(*inputs)
        first = _gradients(found, inputs, create_graph=True)
        second = [[g.detach().numpy() for g in _gradients(slope, inputs, create_graph=False)] for slope in first]
    return found.detach().numpy(), [g.detach().numpy() for g in first], second


def slope_and_bend(function: Callable[[Array], Array], m: Floats) -> tuple[Floats, Floats]:
    """First and second derivative of an elementwise function of one numpy array."""
    _, (first,), ((second,),) = derivatives(function, m)
    return first, second


def _gradients(outputs: Any, inputs: list[Any], create_graph: bool) -> list[Any]:
    """Of the sum of ``outputs``; zeros in what these do not depend on."""
    import torch

    if not outputs.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad(outputs.sum(), inputs, allow_unused=True, retain_graph=True, create_graph=create_graph)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]
