"""Theorems: what is known of a loss without a search. One subject a file; `RULES` has them in the order of trying."""

from __future__ import annotations

from . import chain, forward_kl, two_terms
from .rule import Conclusion, Known, Rule, first

RULES: tuple[Rule, ...] = (*two_terms.RULES, *forward_kl.RULES, *chain.RULES)
"""All rules; the first that applies decides."""

__all__ = ["RULES", "Conclusion", "Known", "Rule", "first"]
