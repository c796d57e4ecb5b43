"""Exact optima with proven error bounds."""

from .solution import Path, Solution
from .solution import Path as SolutionPath
from .solve import solve, solve_path

__all__ = ["Path", "Solution", "SolutionPath", "solve", "solve_path"]
