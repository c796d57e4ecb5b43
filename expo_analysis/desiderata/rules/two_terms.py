"""What an explicit objective owes to its two terms, wherever its optima are. [ours]

F = L + lam D, of a loss L of pairs that does not see lambda, and D an f-divergence of this package: D is continuous on
the closed simplex, possibly infinite at its boundary, zero at pi_ref and positive elsewhere.

**As lam -> infinity.** Let L be bounded below. For a minimiser, lam D(pi_lam) <= L(pi_ref) - inf L, so D(pi_lam) -> 0
and pi_lam -> pi_ref, as D is at least some positive number outside of any neighbourhood of pi_ref. There is a minimiser
once lam is large: policies that are no worse than pi_ref all lie in a closed neighbourhood of pi_ref inside the open
simplex, where F is continuous. L may read the reference.

**With Bradley-Terry's margins.** Let L be a sum of psi(h), h = log pi_w/pi_l, such that the expected loss of every
compared pair is least at its log-odds and nowhere else, and rises without bound (`scores.rises`) with |h|. The
log-ratios of pi* are log-odds on every pair, so on connected comparisons L is least at pi* and there alone, and L(pi_k)
-> L(pi*) implies pi_k -> pi* (log-ratios of such pi_k are bounded, so that a subsequence converges in the open simplex,
to a policy with the value L(pi*)). L tends to infinity at the boundary, so F has a minimiser for every lam, and

    where pi_ref = pi*  both terms are least there, L there alone: it is the one minimiser; its gradient is 0 there;
    as lam -> 0         L(pi_lam) - L(pi*) <= lam D(pi*), so L(pi_lam) -> L(pi*) and pi_lam -> pi*.

Without these margins L is least elsewhere, and both fail; without a lower bound of L the first may: L = -c h is no
match for chi-square at pi = 0, and forward KL has to be large enough to hold it."""

from __future__ import annotations

from collections.abc import Callable

from ..verdict import HOLDS
from .rule import Conclusion, Known, Rule


def _explicit(summary: str) -> Callable[[Known], Conclusion | None]:
    return lambda known: Conclusion(HOLDS, summary) if known.formula.is_explicit else None


def _at_infinity(known: Known) -> Conclusion | None:
    formula = known.formula
    if not (formula.is_fixed and formula.is_bounded_below and formula.has_catalogued_divergence):
        return None
    return Conclusion(HOLDS, "as λ → ∞ the optimum tends to π_ref")


RULES = (
    Rule(
        "two_terms_preserve",
        "preservation",
        "Where π_ref = π*, both terms of a loss with Bradley-Terry's margins plus λ times a divergence are least at "
        "π*.",
        _explicit("where π_ref = π*, the optimum is π* at every λ"),
    ),
    Rule(
        "two_terms_at_rest",
        "first_step",
        "At π_ref = π* both terms of a loss with Bradley-Terry's margins plus λ times a divergence have the gradient "
        "0.",
        _explicit("the first step stays at a reference that is already π*"),
    ),
    Rule(
        "two_terms_at_infinity",
        "reference_limit",
        "λ D(π_λ) ≤ L(π_ref) - inf L takes the optimum of a loss L that is bounded below plus λ times a divergence to "
        "π_ref.",
        _at_infinity,
    ),
    Rule(
        "two_terms_at_zero",
        "strong_interpolation",
        "L(π_λ) - L(π*) ≤ λ D(π*) takes the optimum of a loss with Bradley-Terry's margins plus λ times a divergence "
        "to π*.",
        _explicit("as λ → 0 the optimum tends to π*"),
    ),
)
