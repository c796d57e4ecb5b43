"""Interval arithmetic: bounds of a loss over boxes of policies, by its own code."""
