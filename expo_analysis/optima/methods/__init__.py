"""Ways to solve a `Problem`, one a file, each with what it accepts; they are tried in the order of `METHODS`."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from ..found import Found
from ..problem import Problem
from . import (
    attained,
    boundary,
    cross_entropy,
    kinked,
    least_squares,
    linear_program,
    log_odds,
    multistart,
    newton,
    smoothing,
    squared_error,
    two_explicit,
    two_responses,
)

METHODS: tuple[ModuleType, ...] = (
    two_responses,
    two_explicit,
    cross_entropy,
    log_odds,
    least_squares,
    linear_program,
    smoothing,
    kinked,
    attained,
    newton,
    boundary,
    squared_error,
    multistart,
)
"""Each has ``accepts(problem)``, ``solve(problem)`` and the ``NAME`` that ``solve(method=...)`` knows."""

NAMES = ("auto", "closed_form", "newton", "multistart")


def solve_problem(problem: Problem, name: str, search: bool = True) -> Found:
    """The problem's solution by the first method that accepts it; problems that it passes on go to the next.

    search: whether what other methods pass on is to be searched for.

    Raises:
        ValueError: where a method is insisted on that does not accept the problem.
    """
    found: Found | None = None
    open_ = np.ones(problem.size, dtype=bool)
    for method in METHODS:
        wanted = name in ("auto", method.NAME) or (found is not None and method is multistart)
        if not wanted:
            continue
        part = problem if open_.all() else problem.take(open_)
        if not method.accepts(part) or (found is not None and method is multistart and not search):
            continue
        own = method.solve(part)
        found = own if found is None else found.merged(own, open_)
        open_ = found.passed_on.copy()
        if not open_.any():
            return found
    if found is None:
        kind = type(problem.objective).__name__
        raise ValueError(f"method {name!r} is not available for {kind} on this bandit; use 'auto'")
    return found
