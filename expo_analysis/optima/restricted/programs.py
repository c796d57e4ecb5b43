"""Linear programs, as scipy solves them, to the accuracy that is asked for here."""

from __future__ import annotations

from typing import Any

from scipy.optimize import linprog

from ..._types import Floats

SHARP = 1e-9
"""Programs are exact to this, on rows scaled to 1."""
_OPTIONS: Any = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def program(goal: Floats, rows: Floats, limits: Floats, bounds: list[Any]) -> Any:
    """min goal'x with rows x <= limits and bounds on each x, by HiGHS; scipy's result."""
    return linprog(goal, A_ub=rows, b_ub=limits, bounds=bounds, method="highs", options=_OPTIONS)
