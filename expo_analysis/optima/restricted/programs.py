"""Linear programs and least distances, as scipy solves them, to the accuracy that is asked for here."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linprog, nnls

from ..._types import Floats

SHARP = 1e-9
"""Programs are exact to this, on rows scaled to 1."""
_OPTIONS: Any = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def program(goal: Floats, rows: Floats, limits: Floats, bounds: list[Any]) -> Any:
    """min goal'x with rows x <= limits and bounds on each x, by HiGHS; scipy's result."""
    return linprog(goal, A_ub=rows, b_ub=limits, bounds=bounds, method="highs", options=_OPTIONS)


def least_norm(rows: Floats, limits: Floats, known: Floats) -> Floats:
    """The solution of rows x <= limits with the least |x|, by least-distance programming; ``known`` is any solution.

    Source: Lawson and Hanson, Solving Least Squares Problems (1974), ch. 23.
    """
    residual_of = np.vstack([-rows.T, -limits])
    goal = np.r_[np.zeros(len(known)), 1.0]
    residual = residual_of @ nnls(residual_of, goal)[0] - goal
    if residual[-1] == 0.0:
        return known
    x: Floats = -residual[:-1] / residual[-1]
    solves = np.isfinite(x).all() and (rows @ x <= limits + 1e2 * SHARP * (1 + np.abs(x).max())).all()
    return x if solves else known
