"""Optima on comparisons of many responses, whose graph is never written as a matrix of all pairs."""

from .solve import solve_comparisons

__all__ = ["solve_comparisons"]
