"""What an explicit objective owes to its two terms, wherever its optima are: proofs in place of proven optima. [ours]

F = L + lam D. L, the Bradley-Terry likelihood of the policy's own log-ratios, is least at pi* and there alone, and
tends to infinity with them, where comparisons are connected. D, an f-divergence, is zero at pi_ref and positive
elsewhere. So F has a minimiser, pi_lam say, and

    where pi_ref = pi*  both terms are least there, D there alone: it is the one minimiser;
    as lam -> infinity  lam D(pi_lam) <= L(pi_ref) - L(pi*), so D(pi_lam) -> 0 and pi_lam -> pi_ref;
    as lam -> 0         L(pi_lam) - L(pi*) <= lam D(pi*), so L(pi_lam) -> L(pi*) and pi_lam -> pi*.
"""

from __future__ import annotations

from ..divergences import DIVERGENCES
from ..losses import Objective, PairObjective

PROOF = "proven for every problem, as both terms of the objective are known"
"""How that is known, in the conditions of a verdict."""


def is_explicit(objective: Objective) -> bool:
    """Whether the objective is one of these."""
    if not isinstance(objective, PairObjective):
        return False
    facts = objective.facts
    likelihood = facts.log_ratio_only and not facts.needs_reference and facts.psis_convex
    return bool(likelihood and facts.log_odds_scale == 1 and type(facts.regulariser) in DIVERGENCES.values())


def proof(objective: Objective) -> str:
    """`PROOF` where the above applies, else nothing."""
    return PROOF if is_explicit(objective) else ""
