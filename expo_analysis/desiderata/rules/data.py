r"""Whether optima on growing samples tend to the population's. [ours, but for the theorem on convex functions]

Every pair is compared, and both of its responses win at times. By the law of large numbers the shares w^N_ij of a
sample tend to the population's w_ij > 0.

**Convex functions.** The risks are convex in the logits (or in the scores mu(u), where mu(0+) = -inf) less their common
shift, or in the policy, and converge at every point. If the limit has one minimiser, which Newton's method proves with
an error bound, minimisers of convex functions that converge converge to it (Rockafellar 1970, theorems 10.8 and 27.2),
and exist from some N on.

**Near the infimum, all at once** (pair losses bounded below, by b say, convex or not, with an f-divergence or without).
For N large (1-e) w <= w^N <= (1+e) w, so that for all policies together, those near the boundary too,

    (1-e) (F - b) <= F_N - b <= (1+e) (F - b),     F = sum_ij w_ij l_ij + lam D  (D >= 0).

What comes near the infimum of F_N so comes near that of F. Branch and bound covers the open simplex by finitely many
cells, and proves of all but some of them, which lie close together, that F is above its infimum by some amount there:
optima on samples end within `TARGET` of the population's. At which rate is evidence.
Where the population has no optimum there is nothing to be consistent with, though what comes near the infimum of
samples comes near the population's.

**A fitted reward** (RLHF). The Bradley-Terry likelihood is convex in the rewards, with one maximum but for their common
shift, so its maxima on samples tend to it; and the minimiser of -E[r] + lam D_f, which is strictly convex in pi on the
closed simplex, is a continuous function of r.

On which population: the paper's first bandit, at the lambdas of the search.
"""

from __future__ import annotations

import numpy as np

from ...divergences import DIVERGENCES
from ...losses import RewardObjective
from ..falsify.certify import enclose_minimisers
from ..falsify.problems import single
from ..questions.consistency import LAMS, POPULATION
from ..verdict import HOLDS
from .rule import Conclusion, Known, Rule

TARGET = 1e-4


def _convex(known: Known) -> Conclusion | None:
    if not known.convex_in_coordinates:
        return None
    whole = known.subject.optima(POPULATION, LAMS)
    if not (whole.single & np.isfinite(whole.bound)).all():
        return None
    return Conclusion(HOLDS, "the optimum on a sample tends to the population's, which is the only one")


def _fitted(known: Known) -> Conclusion | None:
    objective = known.subject.objective
    if not isinstance(objective, RewardObjective) or type(objective).reward_terms is not RewardObjective.reward_terms:
        return None
    if type(objective.regulariser) not in DIVERGENCES.values():
        return None
    return Conclusion(HOLDS, "the reward's fit tends to the population's, and the optimum follows it")


def _enclosed(known: Known) -> Conclusion | None:
    shape, subject = known.shape, known.subject
    divergence = shape.regulariser
    if divergence is not None and type(divergence) not in DIVERGENCES.values():
        return None
    if not shape.bounded_below or not subject.optima(POPULATION, LAMS).exists.all():
        return None
    population = single(POPULATION, 0)
    with np.errstate(over="ignore"):
        found = [enclose_minimisers(subject, population, lam, target=TARGET) for lam in LAMS]
    if any(one is None for one in found):
        return None
    return Conclusion(
        HOLDS, f"the optimum on a sample ends within {TARGET:g} of the population's, in 1-norm, as far as was enclosed"
    )


RULES = (
    Rule(
        "argmins_of_convex_functions_converge",
        "consistency",
        "Minimisers of convex functions that converge tend to the only minimiser of their limit.",
        _convex,
    ),
    Rule(
        "the_optimum_follows_the_reward",
        "consistency",
        "RLHF's optimum is a continuous function of the reward, whose likelihood is convex with one maximum.",
        _fitted,
    ),
    Rule(
        "near_the_infimum_all_at_once",
        "consistency",
        "Risks of losses that are bounded below converge, relative to their height, on all policies at once; branch "
        "and bound encloses all minimisers of the limit.",
        _enclosed,
    ),
)
