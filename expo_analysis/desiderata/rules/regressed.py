"""Losses that fit lambda log u of each response to a number of its own: A*-PO and QRPO. [ours]

The risk is F(x) = sum_i N_i (x_i - g_i)^2, x = lam log u, u = pi/pi_ref, N_i > 0 the share of comparisons that response
i is in, and goals g(lam) that depend on rewards and pi_ref, not on the policy. Rewards are r = log pi* where a
population states none. Policies are the x with sum_i pi_ref,i exp(x_i/lam) = 1.

*A\\*-PO* with beta = lam: g = r - V, V = lam log E_ref exp(r/lam). pi = pi_ref exp(r/lam)/exp(V/lam) is a policy, and
has x = g: it is the one optimum. As lambda -> infinity it tends to pi_ref, as lambda -> 0 to the point mass on the best
reward.

*QRPO*: g = q - lam log Z, q in (0, 1] the share of pi_ref with a reward of at most one's own. With the exact Z = E_ref
exp(q/lam) the same holds with q for r. With Z = lam (e^{1/lam} - 1), lam log Z is between 1/2 and 1 + lam log lam (for
lam >= 1: log Z = 1/(2 lam) + O(1/lam^2)), so as lambda -> infinity g is bounded, F(x_lam) <= F(0) is too, x_lam is
bounded, and u -> 1. As lambda -> 0, lam log Z -> 1 and g -> q - 1 <= 0, which is 0 for the best response and negative
for all others where rewards do not tie. x = q - 1 has max x = 0, so that there are policies near it, F(x_lam) -> 0 and
x_lam -> q - 1: lam log u_i tends to a negative number, and u_i to 0, for all but the best."""

from __future__ import annotations

from ...losses import QRPO, AStarPO, PairObjective
from ..verdict import FAILS, HOLDS
from .rule import Conclusion, Known, Rule


def _is_regression(known: Known) -> bool:
    objective = known.formula.objective
    if not isinstance(objective, PairObjective):
        return False
    return type(objective) is QRPO or (type(objective) is AStarPO and objective.beta is None)


def _reference(known: Known) -> Conclusion | None:
    return Conclusion(HOLDS, "as λ → ∞ the optimum tends to π_ref") if _is_regression(known) else None


def _weak(known: Known) -> Conclusion | None:
    if not _is_regression(known):
        return None
    return Conclusion(HOLDS, "as λ → 0 the optimum tends to the point mass on π*'s mode, that of the rewards")


def _strong(known: Known) -> Conclusion | None:
    if not _is_regression(known):
        return None
    return Conclusion(FAILS, "as λ → 0 the optimum tends to the point mass on π*'s mode, not to π*")


RULES = (
    Rule(
        "goals_stay_bounded",
        "reference_limit",
        "λ log u is fitted to numbers that stay bounded as λ → ∞, so log u tends to 0.",
        _reference,
    ),
    Rule(
        "goals_are_below_the_best",
        "weak_interpolation",
        "λ log u is fitted to numbers that tend to 0 for the best reward and to negative ones for all others.",
        _weak,
    ),
    Rule(
        "goals_are_below_the_best",
        "strong_interpolation",
        "λ log u is fitted to numbers that tend to 0 for the best reward and to negative ones for all others.",
        _strong,
    ),
)
