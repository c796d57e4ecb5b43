"""Theorems about restricted rewards, traps, pairs, calibration, gradient weights and displacement. [ours]

*a_gain_by_definition.* With D(pi_ref, pi_ref) = 0 and D >= 0, the maximum pi of E[r*] - lam D over a class that has
pi_ref in it has E_pi[r*] >= E_pi[r*] - lam D(pi) >= E_ref[r*].

*every_minimum_is_lowest.* Of a convex function every stationary point is a lowest one. The logits modulo their shift,
the probabilities, and the differences of mu(u_i), mu = f' increasing, u = pi/pi_ref, are coordinates of one another in
the open simplex, smooth both ways: for the last, a direction in which mu(u_i) - mu(u_j) is constant for all i, j has
mu'(u_i) d pi_i / pi_ref,i the same for all i, so that all d pi_i have one sign, and as they add up to zero, all are
zero. Stationary points are the same in all coordinates, so that it is enough to be convex in one: in the logits; in the
differences of scores, for psi(mu(u_w) - mu(u_l)) with convex psi and mu(0+) = -inf; in pi, for E[-r] + lam D_f. Where
mu(0+) is finite a minimum may lie on the boundary, where scores are no coordinates: a vertex may be one that is not the
lowest, as with f(u) = u^3 - 3u + 2. Of chi-square mu is a straight line in u, so that the loss is convex in pi on the
closed simplex.

*pairs_agree.* If every pair's expected loss is least where c (x_w - x_l) = log p*/(1 - p*), x = log pi, log u or
mu(u), then all are least at once where c x = log pi* + const, as Bradley-Terry log-odds add up. That is a policy: for x
= log pi or log u at once, for mu by its inverse, as mu(0+) = -infinity. On connected pairs the differences determine x
up to a constant, and the policy. No weight of any pair is in it. RLHF's objective has no pairs.

*the_model_is_the_minimum.* Under the premises of the last, let the loss be a logistic one, -log sigma(c (x_w - x_l)),
whose own model is P(w > l) = sigma(c (x_w - x_l)): at the optimum that is p*. RLHF's optimum has lam mu(u) = r* +
const, and the same follows.

*slopes_bound_the_weight.* The slope of a convex function of the log-ratio h rises with h, from its limit at -infinity
to that at +infinity. If both are finite it is bounded by them; if the first is negative, and the second at most ten
times as large, its modulus at -infinity is at least a tenth of the largest.

*someone_in_every_pair_gains.* Let the pairs' losses read log-ratios of the policy only, beside lam D_f. The slopes that
the pairs leave in log pi_i, d loss = -sum g_i d log pi_i (where pieces have kinks: those of a subgradient), add up to
zero over every component of the comparison graph, as they do over every pair. A stationary point in the open simplex
has

    lam pi_i (f'(u_i) - k) = g_i,    k = sum_j pi_j f'(u_j) = sum_j pi_ref,j u_j f'(u_j) >= f'(1),

by Jensen's inequality if u f'(u) is convex, as sum_j pi_ref,j u_j = 1. In every component somebody has g_i >= 0, hence
f'(u_i) >= k >= f'(1) and u_i >= 1: not all of a component are below their reference. u f'(u) is convex for KL(pi ||
pi_ref), Jensen-Shannon, chi-square and its mixture with KL, and for the alpha-divergences up to alpha = 1; that is
KL(pi_ref || pi), for which it is a straight line, so that k = f'(1) and every component keeps its mass. Beyond, it is
concave, k <= f'(1), and a pair at which nothing pulls, g = 0, loses on both sides as soon as anybody else moves. Of
chi-square alone, f'(0) is finite, and a flow may end on the boundary, of which this says nothing.

Nor does it of a flow that comes to no stationary point: -h + lam KL(pi_ref || pi) has none where its slope is above lam
pi_ref,l, and takes mass from all others for ever. So the loss must be bounded below, and one of two things hold. D is
infinite on the boundary: then the policies that are no worse than pi_ref, which a flow never leaves, are a compact part
of the open simplex. Or what falls far out does so at least as fast as e^-|h|: where pi_l -> 0 the pairs with others
push it down by O(pi_l) at most, those within a set that vanishes together leave the sum of its logits as it is, and
lam D pulls that sum up by lam sum pi_l (k - f'(u_l)), which is more, as f'(0) = -infinity.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...divergences import DIVERGENCES, Alpha, Divergence, ForwardKL, JensenShannon, MixedChiSquare, ReverseKL
from ...losses import Facts, Objective, PairObjective, RewardObjective
from ...losses.data import Data
from ...losses.facts import of_log_ratio
from ...losses.psi import Logistic
from ..subject import facts_of
from ..verdict import HOLDS
from .parts import Part
from .rule import Conclusion, Known, Rule
from .signs import Sign


def _pairs_agree(known: Known) -> bool:
    """Whether all pairs of a Bradley-Terry population have their minimum at one policy, whatever their weights."""

    def agree(facts: Facts) -> bool:
        alone = facts.regulariser is None and not facts.likelihood and not facts.couples_pairs
        rises = facts.link is None or type(facts.link) in DIVERGENCES.values()
        return bool(alone and rises and facts.closed_form and facts.log_odds_scale is not None)

    at_all = known.formula.is_fixed or known.formula.has_bradley_terry_margins
    return isinstance(known.subject.objective, PairObjective) and at_all and _everywhere(known, agree)


LAMS = 10.0 ** np.arange(-6, 7, 2)
"""Lambdas at which premises are looked at that hold at all or at none, by what the formula makes of lambda."""


def _everywhere(known: Known, holds: Callable[[Facts], bool]) -> bool:
    """Whether something is known of the loss at all of `LAMS`."""
    return all(holds(facts_of(known.subject.at(float(lam)))) for lam in LAMS)


def _is_rlhf(known: Known) -> bool:
    """Whether it is E[-r] plus lam times a divergence of this package, and not one with another term."""
    objective = known.subject.objective
    if not isinstance(objective, RewardObjective) or type(objective.regulariser) not in DIVERGENCES.values():
        return False  # a divergence of one's own need not be 0 at pi_ref, nor convex, nor have f' for its mu
    return type(objective).reward_terms is RewardObjective.reward_terms


def _gain(known: Known) -> Conclusion | None:
    if not _is_rlhf(known):
        return None
    summary = "over any policies that have π_ref among them, its optimum has no less expected reward than π_ref"
    return Conclusion(HOLDS, summary, answer="never less reward")


def _one_minimum(known: Known) -> Conclusion | None:
    facts = known.formula.facts
    if facts.couples_pairs or (isinstance(known.subject.objective, RewardObjective) and not _is_rlhf(known)):
        return None
    objective = known.subject.objective
    bare = isinstance(objective, PairObjective) and not objective.states_terms
    claimed = bare and _claimed_convex(objective) and _everywhere(known, lambda facts: facts.convex)
    if not (known.convex_in_coordinates or claimed or _is_rlhf(known)):
        return None
    return Conclusion(HOLDS, "every local minimum is the lowest, with any number of responses", answer="none")


def _claimed_convex(objective: Objective) -> bool:
    """Whether a bare formula is said to be convex whatever lambda is."""
    try:
        return bool(objective.with_lam(Sign(1)).claims.convex)
    except Exception:  # that depends on lambda, or cannot be told
        return False


def _no_pairs_in_it(known: Known) -> Conclusion | None:
    if _is_rlhf(known):
        return Conclusion(HOLDS, "its reward is known, and no pair is in it", answer="no")
    if not _pairs_agree(known):
        return None
    return Conclusion(HOLDS, "every pair has its minimum at the optimum, whatever its weight", answer="no")


def _calibrated(known: Known) -> Conclusion | None:
    facts = known.formula.facts
    if _is_rlhf(known):
        agrees = facts.link is not None and facts.link.mu_at_zero == -math.inf
    else:
        logistic = _everywhere(known, lambda facts: [type(term.psi) for term in facts.bound] == [Logistic])
        agrees = _pairs_agree(known) and logistic
    return Conclusion(HOLDS, "its own model of preferences is right at the optimum", answer="exact") if agrees else None


def _weight(known: Known) -> Conclusion | None:
    if not (isinstance(known.subject.objective, PairObjective) and _one_slope(known) and _everywhere(known, _steady)):
        return None
    summary = "the weight of a pair is bounded, and does not fade where it is badly ranked"
    return Conclusion(HOLDS, summary, answer="bounded")


def _one_slope(known: Known) -> bool:
    """Whether the loss of a pair is one function of a log-ratio times a number, at all data and lambdas, but for
    shifts and for positive factors."""
    formula = known.formula
    if formula.data_read is None or "goal" in formula.data_read.places:
        return False
    alone = formula.parts is not None and all(len(at) == 1 and _keeps_its_sign(at[0]) for at in formula.parts)
    return alone or formula.is_fixed or (formula.score_parts is not None and not any(formula.rest))


def _keeps_its_sign(part: Part) -> bool:
    """Whether lambda enters a term by factors that are of one sign, and by shifts."""
    return not part.moving and all(x.sign for x in (part.weight, *(c for c, _ in part.coefficients)))


def _steady(facts: Facts) -> bool:
    """Whether the slope is negative and finite at -infinity, and not much larger at +infinity."""
    if not (facts.log_ratio_only and facts.psis_convex and facts.slopes is not None) or facts.couples_pairs:
        return False
    left, right = (np.asarray(end) for end in facts.slopes)
    return bool(np.isfinite(left).all() and (left < 0).all() and (right <= 10 * -left).all())


def _somebody_gains(known: Known) -> Conclusion | None:
    def keeps(facts: Facts) -> bool:
        convex = facts.regulariser is not None and weighted_slope_convex(facts.regulariser)
        low = -math.inf if facts.lower_bound is None else facts.lower_bound
        return bool(facts.log_ratio_only and convex and np.all(np.isfinite(low)) and _stays_inside(facts))

    # at all lambdas and data: the terms see neither, but for positive weights and shifts
    fixed = isinstance(known.subject.objective, PairObjective) and known.formula.is_fixed
    if not (fixed and _everywhere(known, keeps)):
        return None
    summary = "of every pair that nobody else is compared with, one is at least at its reference where training ends"
    return Conclusion(HOLDS, summary, answer="never")


def _stays_inside(facts: Facts) -> bool:
    """Whether a flow keeps away from the boundary: by what D is there, or by how soon the loss is flat far out."""
    if type(facts.regulariser) is ForwardKL or facts.regulariser == Alpha(1.0):
        return True
    for term in facts.bound:
        step = of_log_ratio(term.statistic)
        slopes, decay = term.psi.slopes, term.psi.decay
        if step is None or slopes is None or isinstance(term.statistic.scale, Data):
            return False
        rates = [rate for slope, rate in zip(slopes, decay, strict=True) if np.any(np.asarray(slope) == 0)]
        if any(rate is None or np.any(rate * np.abs(step) < 1) for rate in rates):
            return False
    return True


def weighted_slope_convex(divergence: Divergence) -> bool:
    """Whether u f'(u) is convex, and f'(0) = -infinity."""
    if type(divergence) is Alpha:
        return divergence.alpha <= 1
    return type(divergence) in (ForwardKL, ReverseKL, JensenShannon, MixedChiSquare)


RULES = (
    Rule(
        "a_gain_by_definition",
        "restricted_improvement",
        "An optimum of E[r*] - λ D over a class that has π_ref in it has no less E[r*] than π_ref.",
        _gain,
    ),
    Rule(
        "every_minimum_is_lowest",
        "local_minima",
        "It is convex in the logits, in the scores μ(π/π_ref), or in π, which are coordinates of one another.",
        _one_minimum,
    ),
    Rule(
        "pairs_agree",
        "pair_dependence",
        "Each pair's loss is least at the Bradley-Terry margin, and all are at once; no weight of a pair is in that.",
        _no_pairs_in_it,
    ),
    Rule(
        "the_model_is_the_minimum",
        "calibration",
        "A logistic loss of a margin is least where σ(margin) = p*, and all pairs' losses are least at once.",
        _calibrated,
    ),
    Rule(
        "slopes_bound_the_weight",
        "gradient_weight",
        "A convex loss of the log-ratio has its slope between its limits at -∞ and +∞.",
        _weight,
    ),
    Rule(
        "someone_in_every_pair_gains",
        "displacement",
        "Losses of log-ratios pull at a component by slopes that add up to zero, and Σ π f'(u) ≥ f'(1) where u f'(u) "
        "is convex, so that somebody in it has u = π/π_ref of at least 1 at a stationary point, to which flows come "
        "where the loss is bounded below and the divergence keeps them from the boundary.",
        _somebody_gains,
    ),
)
