"""Theorems: what is known of a loss without a search. One subject a file; `RULES` has them in the order of trying."""

from __future__ import annotations

from . import chain, constraints, data, existence, forward_kl, masses, no_optimum, two_terms, uniqueness
from .rule import Conclusion, Known, Rule, first

RULES: tuple[Rule, ...] = (
    *no_optimum.RULES,
    *two_terms.RULES,
    *forward_kl.RULES,
    *existence.RULES,
    *uniqueness.RULES,
    *masses.RULES,
    *constraints.RULES,
    *data.RULES,
    *chain.RULES,
)
"""All rules; the first that applies decides."""

__all__ = ["RULES", "Conclusion", "Known", "Rule", "first"]
