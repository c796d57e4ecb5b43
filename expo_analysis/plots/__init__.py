"""Figures: one function each, from pandas frames to a matplotlib Figure; they select and draw, and compute nothing."""

from .convergence import convergence
from .interpolation import interpolation
from .preservation import preservation
from .report_table import report_table
from .simplex import simplex

__all__ = ["convergence", "interpolation", "preservation", "report_table", "simplex"]
