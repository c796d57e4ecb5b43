"""The loops of `expo_analysis.optima.laplacian` in C (_kernel.c), where it was compiled when the package was installed.

Without a compiler there `LOADED` is False, and numpy does the same, to rounding: no result depends on which of the two
is there beyond its last bits. The functions take and return what `laplacian` keeps: see there.
"""

from __future__ import annotations

import ctypes
import math
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np

from .._types import Floats

LARGEST, SIDE_BY_SIDE = 256, 180
"""Vertices. Beyond the first number LAPACK's products of matrices are faster; up to the second one eight problems stay
in a cache together."""


def _library() -> ctypes.CDLL | None:
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_kernel{suffix}")
        if path.exists():
            try:
                return ctypes.CDLL(str(path))
            except OSError:  # made for another system
                continue
    return None


_LIBRARY = _library()
LOADED = _LIBRARY is not None


def eliminate(n: int, weights: Floats) -> tuple[Floats, Floats]:
    """Ratios (n(n-1)/2, B) and pivots (n, B)."""
    weights = np.ascontiguousarray(weights)
    ratios, pivots = np.empty_like(weights), np.empty((n, weights.shape[1]))
    _call("eliminate", n, weights.shape[1], weights, ratios, pivots, n <= SIDE_BY_SIDE)
    return ratios, pivots


def resistances(ratios: Floats, pivots: Floats) -> Floats:
    """(n(n-1)/2, B)."""
    (n, size), found = pivots.shape, np.empty_like(ratios)
    _call("resistances", n, size, ratios, pivots, found, n <= SIDE_BY_SIDE)
    return found


def solve(ratios: Floats, pivots: Floats, rhs: Floats) -> Floats:
    """x (n, B)."""
    found = np.array(rhs, order="C")
    _call("solve", *pivots.shape, ratios, pivots, found)
    return found


def _call(name: str, *given: int | Floats) -> None:
    """Sizes are passed on as they are, and arrays, which are C-contiguous, by their addresses."""
    arguments = [ctypes.c_ssize_t(x) if isinstance(x, int) else ctypes.c_void_p(x.ctypes.data) for x in given]
    if getattr(_LIBRARY, name)(*arguments):
        raise MemoryError(f"no memory for {math.prod(np.shape(given[-2]))} numbers")
