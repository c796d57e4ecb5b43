"""Theorems: what is known of a loss without a search. One subject a file; `RULES` has them in the order of trying."""

from __future__ import annotations

from . import (
    asked,
    chain,
    constraints,
    data,
    existence,
    expo,
    flows,
    forward_kl,
    lambda_scores,
    limit_formula,
    margins,
    masses,
    mixtures,
    no_optimum,
    regressed,
    shares,
    targets,
    two_terms,
    uniqueness,
    vacuous,
    vertex,
)
from .rule import Conclusion, Known, Rule, first

RULES: tuple[Rule, ...] = (
    *vacuous.RULES,
    *no_optimum.RULES,
    *two_terms.RULES,
    *mixtures.RULES,
    *expo.RULES,
    *forward_kl.RULES,
    *margins.RULES,
    *lambda_scores.RULES,
    *limit_formula.RULES,
    *shares.RULES,
    *regressed.RULES,
    *existence.RULES,
    *vertex.RULES,
    *uniqueness.RULES,
    *masses.RULES,
    *constraints.RULES,
    *data.RULES,
    *flows.RULES,
    *targets.RULES,
    *chain.RULES,
    *asked.RULES,
)
"""All rules; the first that applies decides."""

__all__ = ["RULES", "Conclusion", "Known", "Rule", "first"]
