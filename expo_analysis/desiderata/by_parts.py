"""What an explicit objective owes to its two terms, wherever its optima are: proofs in place of proven optima. [ours]

F = L + lam D. L, the Bradley-Terry likelihood of the policy's own log-ratios, is least at pi* and there alone, and
tends to infinity with them, where comparisons are connected. D, an f-divergence, is zero at pi_ref and positive
elsewhere. So F has a minimiser, pi_lam say, and

    where pi_ref = pi*  both terms are least there, D there alone: it is the one minimiser;
    as lam -> infinity  lam D(pi_lam) <= L(pi_ref) - L(pi*), so D(pi_lam) -> 0 and pi_lam -> pi_ref;
    as lam -> 0         L(pi_lam) - L(pi*) <= lam D(pi*), so L(pi_lam) -> L(pi*) and pi_lam -> pi*.
"""

from __future__ import annotations

from .._symbols import Symbol
from ..divergences import DIVERGENCES
from ..losses import Objective, PairObjective
from ..losses.psi import Logistic
from ..losses.statistics import h, is_number

PROOF = "proven for every problem, as both terms of the objective are known"
"""How that is known, in the conditions of a verdict."""


def is_explicit(objective: Objective) -> bool:
    """Whether the objective is one of these, at every lambda.

    Its terms are made with a symbol for lambda: those that then have numbers only are the same for all.
    """
    if not (isinstance(objective, PairObjective) and objective.states_terms):
        return False
    try:
        anywhere = objective.with_lam(Symbol("lam"))
        terms, regulariser = anywhere.terms, anywhere.regulariser
    except Exception:  # somebody's terms may do anything with lambda
        return False
    if terms is None or len(terms.terms) != 1 or regulariser != objective.regulariser:
        return False
    (term,) = terms
    psi, statistic = term.psi, term.statistic
    if type(psi) is not Logistic or not all(isinstance(x, (int, float)) for x in (psi.kept, psi.flipped, term.weight)):
        return False
    shifts = (statistic.centre, statistic.offset)
    plain = statistic.base == h.base and is_number(statistic.scale, 1) and all(is_number(x, 0) for x in shifts)
    return plain and type(regulariser) in DIVERGENCES.values() and psi.flipped == 0 and psi.kept * term.weight > 0


def proof(objective: Objective) -> str:
    """`PROOF` where the above applies, else nothing."""
    return PROOF if is_explicit(objective) else ""
