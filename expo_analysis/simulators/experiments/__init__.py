"""What training reaches: one experiment a file, each a function from ``full`` to tables by file name."""

from .constraints import constraints
from .section5 import section5

__all__ = ["constraints", "section5"]
