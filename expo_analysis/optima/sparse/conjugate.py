"""Conjugate gradients on all pieces of a graph in lockstep: each has its own step lengths."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..._types import Floats
from .graph import Graph

Map = Callable[[Floats], Floats]

PATIENCE = 200
"""Steps in which what is left must halve somewhere: else rounding is all there is of it."""


def conjugate_gradients(
    product: Map, inverse: Map, rhs: Floats, graph: Graph, tolerance: float, most: int
) -> tuple[Floats, int, bool]:
    """y with H y = ``rhs``, (n,), to ``tolerance`` in the norm r' C r of what is left, C being about the inverse of H.

    (Hestenes and Stiefel 1952, preconditioned.) From y = 0 every iterate has y'Hy = y'rhs, as the solution has.

    Args:
        product, inverse: H and C, symmetric and positive (semi)definite on each piece.
        rhs: which sums to zero over each piece.

    Returns:
        y, the number of steps, and whether each piece reached the tolerance.
    """
    y, left = np.zeros_like(rhs), rhs.copy()
    ahead = inverse(left)
    size = graph.totals(left * ahead)
    goal = tolerance**2 * size
    direction, least, since = ahead, size, 0
    for step in range(most):
        active = size > goal
        if not active.any() or since > PATIENCE:
            return y, step, not active.any()
        image = product(direction)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            length = size / graph.totals(direction * image)
            length = graph.spread(np.where(active & np.isfinite(length), length, 0.0))
        y, left = y + length * direction, left - length * image
        ahead = inverse(left)
        before, size = size, graph.totals(left * ahead)
        since = 0 if (active & (size < least / 2)).any() else since + 1
        least = np.where(size < least / 2, size, least)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            turn = size / before
        direction = ahead + graph.spread(np.where(active & np.isfinite(turn), turn, 0.0)) * direction
    return y, most, bool((size <= goal).all())
