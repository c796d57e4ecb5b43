"""Exact optima with proven error bounds."""

from .solution import Path, Solution
from .solve import solve, solve_path

__all__ = ["Path", "Solution", "solve", "solve_path"]
