"""The solution of linear inequalities that is nearest to 0."""

from __future__ import annotations

import numpy as np
from scipy.optimize import lsq_linear

from .._types import Floats


def least_norm(rows: Floats, limits: Floats, known: Floats, slack: float) -> Floats:
    """The solution of rows x <= limits with the least |x|, by least-distance programming; ``known`` is any solution.

    slack: by how much rounding may leave the limits; ``known`` is returned where it leaves them by more.
    Source: Lawson and Hanson, Solving Least Squares Problems (1974), ch. 23.
    """
    if len(rows) == 0:
        return np.zeros_like(known)
    unit = float(np.abs(rows).max()) or 1.0
    rows, known = rows / unit, known * unit  # a tolerance is part of what is solved
    residual_of = np.vstack([-rows.T, -limits])
    goal = np.r_[np.zeros(len(known)), 1.0]
    # of columns that depend on one another scipy's nnls may stop before the least residual, which bvls does not
    multipliers = lsq_linear(residual_of, goal, (0.0, np.inf), method="bvls", tol=1e-14).x
    residual = residual_of @ multipliers - goal
    with np.errstate(divide="ignore", invalid="ignore"):
        x: Floats = -residual[:-1] / residual[-1]
    solves = np.isfinite(x).all() and (rows @ x <= limits + slack * (1 + np.abs(x).max())).all()
    return np.asarray(x if solves else known) / unit
