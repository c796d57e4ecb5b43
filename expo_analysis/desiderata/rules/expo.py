"""Improvement in every f-divergence: the chain behind EXPO. [ours]

F = L + lam KL(pi_ref || pi), L a loss of h = log pi_w/pi_l that does not see lambda, with convex psi and weights that
are not negative, such that the expected loss of every compared pair, phi_ij(h_ij), is least at its log-odds h*_ij
alone.

The optimum pi exists (`two_terms`), and there lam (pi_i - r_i) = -sum_j g_ij, r = pi_ref, g_ij = -g_ji an element of
the subdifferential of phi_ij at h_ij (pairs that are not compared have none, and g_ij = 0). phi_ij is convex and least
at h*_ij alone, so g_ij has the sign of h_ij - h*_ij, or is 0, and with d_i = log pi_i/pi*_i this is the sign of d_i -
d_j. For a convex f, D(p) = sum_i pi*_i f(p_i/pi*_i) is convex in p with subgradient f'(u_i), u_i = pi_i/pi*_i, so

    D(r) - D(pi) >= sum_i f'(u_i) (r_i - pi_i) = (1/lam) sum_{i<j} (f'(u_i) - f'(u_j)) g_ij >= 0,

as f' never falls and both factors have the sign of u_i - u_j. That is improvement in every f-divergence from pi*: total
variation, KL both ways, Hellinger, both chi-squares; on any graph of comparisons, at any lambda. (Where differences of
log pi* on one component only are known, g_ij speaks of these only.)

It needs the forward KL, whose gradient in the logits is pi - pi_ref: with the reverse one (SPO) it fails; and margins
at the log-odds: SLiC's are not, and fail."""

from __future__ import annotations

from ..verdict import HOLDS
from .rule import Conclusion, Known, Rule


def _improvement(known: Known) -> Conclusion | None:
    if not known.formula.is_expo:
        return None
    return Conclusion(HOLDS, "the optimum is never farther from π* than the reference, in any f-divergence")


RULES = (
    Rule(
        "chain_to_optimum",
        "improvement",
        "With convex losses of pairs that are least at the log-odds, and λ KL(π_ref ‖ π), the optimum is no farther "
        "from π* than π_ref in every f-divergence.",
        _improvement,
    ),
)
