"""Of all f-divergences only the forward KL conserves masses and improves on every problem. [ours]

The objective is L + lam D_f, L the Bradley-Terry likelihood of the policy's own log-ratios, f strictly convex. Let
two of three responses be compared. As lam -> 0 the optimum has their ratio right, and gives the third the mass t
that makes D_f least: t = pi_ref,3 for all references and targets only if sum_i rho_i k(a_i/rho_i) = k(1), k(x) = x
f'(x), for all a and rho, so only if k is affine, and that is f = -c log. Elsewhere the mass moves, and as pi*_3 is
free, it can be chosen where moving away costs any number of nats. docs/note, theorem 3, has the proof in full, and
for connected graphs.
"""

from __future__ import annotations

from ...divergences import Alpha, ForwardKL
from ..verdict import FAILS
from .rule import Conclusion, Known, Rule


def _other(known: Known) -> bool:
    divergence = known.formula.regulariser
    return known.formula.is_explicit and type(divergence) is not ForwardKL and divergence != Alpha(1.0)


RULES = (
    Rule(
        "only_the_forward_kl_conserves",
        "conservation",
        "Beside a Bradley-Terry likelihood every f-divergence but the forward KL moves the mass of unseen responses.",
        lambda known: (
            Conclusion(FAILS, "mass moves between what was never compared (a response in no pair)")
            if _other(known)
            else None
        ),
    ),
    Rule(
        "only_the_forward_kl_improves",
        "improvement",
        "Beside a Bradley-Terry likelihood every f-divergence but the forward KL leaves some reference for worse.",
        lambda known: (
            Conclusion(FAILS, "the optimum can be farther from π* than the reference is, in KL(π ‖ π*)")
            if _other(known)
            else None
        ),
    ),
)
