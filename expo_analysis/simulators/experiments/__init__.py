"""What training reaches: one experiment a file, each a function from ``full`` to tables by file name."""

from .estimators import estimators
from .section5 import section5

__all__ = ["estimators", "section5"]
