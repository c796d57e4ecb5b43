"""What training reaches: one experiment a file, each a function from ``full`` to tables by file name."""

from .constraints import constraints
from .displacement import displacement
from .section5 import section5

__all__ = ["constraints", "displacement", "section5"]
