r"""What optima over restricted policies are, along theta = log pi_ref + w f, one w for all prompts. [ours]

**Between the ends** (a pair loss that is convex in the logits, plus lam D_f(pi || pi_ref)). L(w) is convex, as the
logits are affine in w. Along the tilt u = pi/pi_ref = exp(w f)/Z, and

    dD/dw = Cov_pi(f'(u), f),

which has the sign of w, as f' never falls and u rises or falls with f as w is positive or not: D rises on both sides of
w = 0. (For reverse KL it is w Var_pi(f), also where D is not convex in w.) A weight decay rises so too. Outside of the
stretch from 0 to the minimisers of L, all of them rise away from it: F is least on the stretch, between pi_ref and the
best restricted fit of the pair loss. That fit may itself be worse than pi_ref by RLHF's measure (restricted reversal).

**RLHF** is what the question compares with: its optimum is RLHF's, by definition.
"""

from __future__ import annotations

from ...divergences import DIVERGENCES
from ...losses import RewardObjective
from ..verdict import HOLDS
from .rule import Conclusion, Known, Rule


def _between(known: Known) -> Conclusion | None:
    shape = known.shape
    if not (shape.convex and type(shape.regulariser) in DIVERGENCES.values()):
        return None
    return Conclusion(
        HOLDS,
        "over restricted policies its optimum lies between π_ref and the best restricted fit (which may itself be "
        "worse than π_ref)",
    )


def _rlhf(known: Known) -> Conclusion | None:
    objective = known.subject.objective
    if not isinstance(objective, RewardObjective) or type(objective).reward_terms is not RewardObjective.reward_terms:
        return None
    return Conclusion(HOLDS, "by definition: over restricted policies, too, its optimum is RLHF's")


RULES = (
    Rule(
        "between_the_ends",
        "constraint_robustness",
        "Of one parameter, a convex pair loss rises beyond its best fit, and an f-divergence beyond π_ref.",
        _between,
    ),
    Rule("it_is_rlhf", "constraint_robustness", "RLHF's optimum is what others are compared with.", _rlhf),
)
