"""Where gradient flow on free logits leads, without following it. [ours, elementary]

Four responses with one logit each are compared as 0 with 1 and as 2 with 3, and the flow starts in pi_ref. A flow on a
line never turns back, and none comes to rest but where its slope is 0; a problem that is the same with two responses
exchanged has a flow that is, so that these two keep equal probabilities if they start with them.

**A pair that nothing pulls at is displaced** (the pair loss is psi(X_w - X_l), or X_l - X_w, with one increasing score
X of log pi or log u, and no divergence). 0 and 1 win equally often, 2 wins more often than 3, and the two of each pair
are equally likely under pi_ref. Let a = dX/dlog pi > 0. The premise is that pi a never falls as pi grows, in other
words that X is convex as a function of -1/pi. The logarithm is (a = 1), and so are the scores of f-DPO's divergences,
of alpha-divergences up to alpha = 1, and (1 - pi^-alpha)/alpha up to there.

Proof. 0 and 1 keep equal probabilities, so that their own pair, whose risk is even in X_0 - X_1, pulls at neither. Let
m = X_2 - X_3, and G(m) be the risk of the other pair. dm/ds = -G'(m) |grad m|^2, so m moves on a line: away from 0, as
G'(0) is not 0, and never back. Say that m > 0 and G'(m) < 0 from then on; otherwise exchange 2 and 3 in what follows.
With S = pi_0^2 + pi_1^2 + pi_2^2 + pi_3^2 and c = pi_0 - S the flow has

    dlog pi_0/ds = -G'(m) (a_3 (c + pi_3) - a_2 (c + pi_2)) = -G'(m) ((a_3 - a_2) c + pi_3 a_3 - pi_2 a_2).

pi_2 > pi_3, and S is below the largest probability, so that c + pi_2 > 0. Where a_3 <= a_2 the first form is negative.
Where a_3 > a_2 the second one is, if c < 0, as pi_3 a_3 <= pi_2 a_2: and S is at least 1/4, above pi_0, which starts
below that and never rises. So 0 and 1 fall, for good. Of the logarithm the sums of both pairs' logits stay, and they
fall by log(1 + b (cosh(m/2) - 1)), where b is the mass of 2 and 3 under pi_ref. That stays so if 0 wins a little more
often than 1, as flows depend continuously on what drives them. No convexity of psi is needed.

**Of two pairs of equals one is displaced** (any loss of pairs). The two of each pair are equally likely under pi_ref
and win equally often, the pairs are not compared equally often, and the slope of the risk at pi_ref is not 0.

Proof. 0 and 1 keep equal probabilities, and so do 2 and 3. What is left is one number, the mass of the first pair,
which moves on a line: away from where it started, as far as the slope is not 0, and never back. If it falls, 0 and 1
have both lost, else 2 and 3 have. It is so for losses that want more, or less, of both responses of a pair together,
such as a likelihood of the winner beside anything else.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

from ...bandit import Bandit
from ...divergences import Alpha, ForwardKL, JensenShannon, MixedChiSquare, ReverseKL
from ...losses import PairObjective
from ...losses.psi import Exponential, Sigmoid
from ..verdict import FAILS
from .formula import Formula
from .rule import Conclusion, Known, Rule
from .scores import UnitTerm

REFERENCE = [0.1, 0.1, 0.4, 0.4]
OPTIMAL = [0.1, 0.1, 0.6, 0.2]
PAIRS = [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]]
UNEVEN = [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.1], [0.0, 0.0, 0.1, 0.0]]
CLEAR = 1e-6
"""A slope is not 0 if it is above this, relative to others of the loss."""
REACH = 0.1
"""How far the slope must lead, in logits: the smaller pair falls by 0.16 nats by then, or else the larger by 0.04."""

SUMMARY = "training can take probability from both responses of a pair"


def _pulled_apart(known: Known) -> Conclusion | None:
    shape = known.shape
    if not (shape.alone and (shape.of_log_ratios or _tame(known.formula) or _tame_difference(known))):
        return None
    slopes = known.subject.gradient(Bandit(REFERENCE, OPTIMAL, PAIRS), 1.0, np.log(REFERENCE))
    still, moved = np.abs(slopes[:2]).max(), np.abs(slopes[2:]).min()
    return Conclusion(FAILS, SUMMARY) if moved > CLEAR and still < CLEAR * moved else None


def _tame(formula: Formula) -> bool:
    """Whether it reads differences of scores whose slope in log pi, times pi, never falls."""
    if not formula.is_of_score_differences or formula.link is None:
        return False
    kind = formula.link.kind
    if isinstance(kind, Alpha):
        return kind.alpha <= 1
    if isinstance(kind, tuple):  # (1 - pi^-alpha)/alpha
        return bool(kind[1] <= 1)
    return kind == "log" or type(kind) in (ForwardKL, ReverseKL, JensenShannon, MixedChiSquare)


def _tame_difference(known: Known) -> bool:
    """Whether it is X_l - X_w at lambda = 1, X a sigmoid or an exponential of at most once the log-probability."""

    def tame(term: UnitTerm) -> bool:
        return type(term.psi) in (Sigmoid, Exponential) and abs(term.winner) + abs(term.loser) <= 1

    return known.shape.is_a_difference and all(tame(UnitTerm.of(part)) for at in known.formula.numeric for part in at)


def _equals(known: Known) -> Conclusion | None:
    objective = known.subject.objective
    if not isinstance(objective, PairObjective) or objective.auxiliary:
        return None
    apart, steps = np.array([1.0, 1.0, -1.0, -1.0]), np.linspace(0.0, REACH, 21)
    logs = log_softmax(np.log(REFERENCE) + np.concatenate([steps, -steps])[:, None] * apart, axis=1)
    slopes = known.subject.gradient(Bandit(REFERENCE, REFERENCE, UNEVEN), 1.0, logs) @ apart
    size = np.abs(known.subject.gradient(Bandit(REFERENCE, OPTIMAL, UNEVEN), 1.0, logs)).max()
    up, down = slopes < -CLEAR * size, slopes > CLEAR * size
    # on the way and, as at a kink there are many slopes, right behind the start
    moves = up[: len(steps)].all() and up[len(steps) + 1], down[len(steps) :].all() and down[1]
    return Conclusion(FAILS, SUMMARY) if any(moves) else None


RULES = (
    Rule(
        "a_still_pair_is_displaced",
        "displacement",
        "If the pair loss reads one difference of scores alone, such as log π_w/π_l, scores that are convex in -1/π, a "
        "pair at its minimum loses mass on both sides as others part.",
        _pulled_apart,
    ),
    Rule(
        "of_two_pairs_of_equals_one_is_displaced",
        "displacement",
        "Where equals are compared, with two pairs and not equally often, a slope at π_ref takes mass from both "
        "responses of one pair, for good.",
        _equals,
    ),
)
