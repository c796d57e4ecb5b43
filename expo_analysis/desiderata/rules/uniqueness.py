r"""How many minimisers there are. [ours]

**Strictly convex** in the logits but for their common shift, whatever is compared: then there is at most one minimiser,
as the objective is below its ends' larger value between any two policies. log-sum-exp is strictly convex so, and with
it -log pi_i, KL(pi_ref || pi) and alpha-divergences for alpha >= 1 (sums of increasing convex functions of -log pi_i);
and so is psi(m), psi convex and strictly decreasing, of m = sum c_k log pi_k with sum c_k > 0, which is minus that
log-sum-exp times sum c_k and straight lines. Where minimisers exist on all data there is exactly one.

**One number for two probabilities**: a pair loss of s(pi_w) - s(pi_l) alone leaves the mass of the pair open (see
`masses`).

**Two wells** (any loss, two responses). F_p, the risk at pi* = (p, 1-p), is p a + (1-p) b. Let intervals prove, for
p = p_0 and p = p_1, that F_p is higher by a margin outside of two stretches of log pi_0/pi_1, out to infinity, than at
one fixed policy; being affine in p, so it is for all p between. Let F_p be higher at p_0 on all of the second stretch
than at a policy of the first, and at p_1 the other way round. Then every F_p has its minimisers in the two stretches,
which are compact; the sets of p that have one in the first, and in the second, are closed, not empty, and cover [p_0,
p_1], which is connected: some p has both.

**Two unseen responses** (no divergence, psis convex, of single log-probabilities or differences of them). Two of four
responses are compared, and intervals enclose the minimum over their log-probabilities, with some mass left. That is
where the loss is least, however the other two share what is left.

**A reward that is fitted** (RLHF) is open where components are not compared (see `masses`).
"""

from __future__ import annotations

import numpy as np

from ...bandit import Bandit
from ..verdict import FAILS, HOLDS
from .boxes import SingleScores
from .examples import equal
from .masses import LAMS, left_open, open_reward
from .rule import Conclusion, Known, Rule, refuted
from .wells import two_wells

FOUR = ([0.1, 0.1, 0.4, 0.4], [0.3, 0.2, 0.25, 0.25])
ONE_PAIR_OF_FOUR = [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0] * 4, [0.0] * 4]


def _strictly_convex(known: Known) -> Conclusion | None:
    shape = known.shape
    if not shape.strictly_convex:
        return None
    if shape.regulariser is not None and shape.bounded_below:
        return Conclusion(HOLDS, "there is one minimiser, whatever was compared")
    return Conclusion(HOLDS, "there is at most one minimiser, whatever was compared (and none on some data)")


def _two_wells(known: Known) -> Conclusion | None:
    if known.shape.convex or known.shape.parts is None:
        return None
    example = two_wells(known.subject)
    return refuted("two responses can have two minimisers", example)


def _two_unseen(known: Known) -> Conclusion | None:
    shape, subject = known.shape, known.subject
    if not (shape.alone and shape.psis_convex) or shape.finite_scores or shape.of_one_number:
        return None
    bandit = Bandit(*FOUR, ONE_PAIR_OF_FOUR)
    for lam in LAMS:
        scores = SingleScores.of(subject.objective, bandit, lam)
        box = None if scores is None else scores.minimum_inside()
        if box is None:
            continue
        first, second = np.exp((box[0] + box[1]) / 2)
        rest = 1 - first - second
        policies = [[first, second, rest * x, rest * (1 - x)] for x in (0.5, 0.2)]
        moved = [(first * a, second * b) for a in (0.9, 1.1) for b in (0.9, 1.1)]
        others = [[a, b, (1 - a - b) / 2, (1 - a - b) / 2] for a, b in moved]
        statement = "two responses in no pair share what is left as they like: both policies have the lowest value"
        example = equal(subject, bandit, lam, policies, others, statement)
        if example is not None:
            summary = "several policies are minimisers (two responses in no pair)"
            return Conclusion(FAILS, summary, example, settled=True)
    return None


def _fitted(known: Known) -> Conclusion | None:
    example = open_reward(known)
    summary = "several policies are optima (a response in no pair, whose reward is not known)"
    return refuted(summary, example)


RULES = (
    Rule(
        "strictly_convex",
        "uniqueness",
        "A loss that is strictly convex in the logits, but for their common shift, has at most one minimiser.",
        _strictly_convex,
    ),
    Rule(
        "one_number_leaves_masses_open",
        "uniqueness",
        "A pair loss of s(π_w) - s(π_l) alone does not say how much mass the pair has.",
        left_open(
            "several policies are minimisers (a response in no pair)",
            "two policies that differ in the mass of the response in no pair both have the lowest value",
        ),
    ),
    Rule(
        "two_wells",
        "uniqueness",
        "As π* moves, the lowest of two wells with a barrier between changes, and somewhere both are lowest.",
        _two_wells,
    ),
    Rule(
        "two_unseen_share_what_is_left",
        "uniqueness",
        "A loss of compared responses alone does not say how two responses in no pair share what is left.",
        _two_unseen,
    ),
    Rule(
        "a_fitted_reward_is_open",
        "uniqueness",
        "A fitted reward is known on each component up to a constant of its own, which moves mass between them.",
        _fitted,
    ),
)
