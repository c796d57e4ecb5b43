"""Pairs that the policy draws itself: where training rests, games of preferences, and when XPO has a minimiser."""

from .fixed_points import FixedPoint, OnPolicy, fixed_points
from .nash import NashPolicy, nash_md, nash_policy, regularised_nash, sppo
from .xpo import Cut, xpo_cut

__all__ = [
    "Cut",
    "FixedPoint",
    "NashPolicy",
    "OnPolicy",
    "fixed_points",
    "nash_md",
    "nash_policy",
    "regularised_nash",
    "sppo",
    "xpo_cut",
]
