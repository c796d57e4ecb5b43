"""What an explicit objective owes to its two terms, wherever its optima are. [ours]

F = L + lam D. L, the Bradley-Terry likelihood of the policy's own log-ratios, is least at pi* and there alone, and
tends to infinity with them, where comparisons are connected. D, an f-divergence, is zero at pi_ref and positive
elsewhere. So F has a minimiser, pi_lam say, and

    where pi_ref = pi*  both terms are least there, D there alone: it is the one minimiser;
    as lam -> infinity  lam D(pi_lam) <= L(pi_ref) - L(pi*), so D(pi_lam) -> 0 and pi_lam -> pi_ref;
    as lam -> 0         L(pi_lam) - L(pi*) <= lam D(pi*), so L(pi_lam) -> L(pi*) and pi_lam -> pi*.
"""

from __future__ import annotations

from collections.abc import Callable

from ..verdict import HOLDS
from .rule import Conclusion, Known, Rule


def _explicit(summary: str) -> Callable[[Known], Conclusion | None]:
    return lambda known: Conclusion(HOLDS, summary) if known.formula.is_explicit else None


RULES = (
    Rule(
        "two_terms_preserve",
        "preservation",
        "Where π_ref = π*, both terms of a Bradley-Terry likelihood plus λ times a divergence are least at π*.",
        _explicit("where π_ref = π*, the optimum is π* at every λ"),
    ),
    Rule(
        "two_terms_at_infinity",
        "reference_limit",
        "λ D(π_λ) ≤ L(π_ref) - L(π*) takes the optimum of a likelihood plus λ times a divergence to π_ref.",
        _explicit("as λ → ∞ the optimum tends to π_ref"),
    ),
    Rule(
        "two_terms_at_zero",
        "strong_interpolation",
        "L(π_λ) - L(π*) ≤ λ D(π*) takes the optimum of a likelihood plus λ times a divergence to π*.",
        _explicit("as λ → 0 the optimum tends to π*"),
    ),
)
