"""The watch under which a loss is called; `expo_analysis._watch` has it, as whoever reads a function needs it too."""

from .._watch import AGAIN, EARLY, TIME_UP, Outcome, TimeUp, Watch

__all__ = ["AGAIN", "EARLY", "TIME_UP", "Outcome", "TimeUp", "Watch"]
