"""Lambdas and options so large or so small that what is made of them may overflow, and steps that meet what does."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from numbers import Real
from typing import Any

import numpy as np

from .._types import Floats
from ..losses.base import Objective

ORDINARY = 1e-70, 1e70
"""Of two numbers in between, the square of the product is a number, and so is its inverse."""


def quiet_at_extremes(objective: Objective, lams: Floats) -> AbstractContextManager[Any]:
    """Where numpy does not warn, if one of ``lams`` or an option of the objective is beyond all ordinary ones.

    What overflows there is not finite, and `values.settle_values` lets no status claim what is not.
    """
    options = (getattr(objective, field.name) for field in dataclasses.fields(objective) if field.name != "lam")
    sizes = [abs(float(x)) for x in (*np.ravel(lams).tolist(), *options) if isinstance(x, Real) and x != 0]
    ordinary = all(ORDINARY[0] < size < ORDINARY[1] for size in sizes)
    return nullcontext() if ordinary else np.errstate(over="ignore", invalid="ignore", divide="ignore")


def lstsq(matrix: Floats, rhs: Floats, rcond: float | None = None) -> Floats:
    """numpy's ``lstsq``, and nan where an entry is not finite: with such LAPACK may go on for ever."""
    if not (np.isfinite(matrix).all() and np.isfinite(rhs).all()):
        return np.full(matrix.shape[1], np.nan)
    return np.asarray(np.linalg.lstsq(matrix, rhs, rcond=rcond)[0])
