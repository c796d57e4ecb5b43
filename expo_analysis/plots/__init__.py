"""Figures: one function each, from pandas frames to a matplotlib Figure; they select and draw, and compute nothing."""

from .constraints import constraints
from .convergence import convergence
from .displacement import displacement
from .interpolation import interpolation
from .preservation import preservation
from .report_table import report_table
from .section5 import section5
from .simplex import simplex

__all__ = [
    "constraints",
    "convergence",
    "displacement",
    "interpolation",
    "preservation",
    "report_table",
    "section5",
    "simplex",
]
