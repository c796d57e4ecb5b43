"""Questions that do not arise. [ours]

*lambda -> infinity gives pi_ref* is no question to a loss that never reads the reference: its optima are the same for
every pi_ref, and cannot tend to all of them. *The path comes steadily closer to pi\\* as lambda falls* is none to a
loss that does not read lambda: there is no path."""

from __future__ import annotations

from ..verdict import NOT_APPLICABLE
from .rule import Conclusion, Known, Rule


def _no_reference(known: Known) -> Conclusion | None:
    if known.formula.reads_reference:
        return None
    return Conclusion(NOT_APPLICABLE, "the loss does not read the reference")


def _no_lambda(known: Known) -> Conclusion | None:
    formula = known.formula
    if not (formula.is_fixed and formula.regulariser is None) or formula.is_reward_objective:
        return None
    return Conclusion(NOT_APPLICABLE, "the optimum is the same for every λ")


RULES = (
    Rule(
        "no_reference", "reference_limit", "The loss does not read π_ref, and has no divergence from it.", _no_reference
    ),
    Rule("no_lambda", "monotone_path", "No term of the loss depends on λ.", _no_lambda),
)
