"""Exact optima with proven error bounds."""

from .restricted import RestrictedOptima, restricted_optima, restricted_values
from .solution import Certificate, Path, Solution, Status
from .solution import Path as SolutionPath
from .solve import solve, solve_path, stepped_optima

__all__ = [
    "Certificate",
    "Path",
    "RestrictedOptima",
    "Solution",
    "SolutionPath",
    "Status",
    "restricted_optima",
    "restricted_values",
    "solve",
    "solve_path",
    "stepped_optima",
]
