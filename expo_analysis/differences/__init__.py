"""Two losses, or one loss at two versions: where their optima part, by how much, and on which smallest problem."""

from .between import Difference, diff
from .smallest import Example

__all__ = ["Difference", "Example", "diff"]
