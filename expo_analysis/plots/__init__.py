"""Figures: one function each, from pandas frames to a matplotlib Figure; they select and draw, and compute nothing."""

from .convergence import convergence
from .interpolation import interpolation
from .preservation import preservation
from .simplex import simplex

__all__ = ["convergence", "interpolation", "preservation", "simplex"]
