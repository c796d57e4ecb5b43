"""Losses that hold every response to a place of its own, and places that do not fit into one policy. [ours]

Five responses with one logit each are compared as 0 with 1 and as 2 with 3, the fifth with none; 2 and 3 are equally
likely under pi_ref and win equally often. Let x be the log-probabilities of the four, G(x_0, x_1) and H(x_2, x_3) the
risks of the pairs, and c their slopes in x. Every term is w psi(a x_k - b) or w psi(a (x_k - x_l) - b), w > 0, and psi
is a logistic loss or a square; each response has one of the first kind that grows without end as x_k -> -infinity.

**If grad G < 0 at a point x^0, grad H = 0 at pi_ref, and exp x^0_0 + exp x^0_1 + pi_ref,2 + pi_ref,3 >= 1, then the
gradient flow from pi_ref ends with less of 2 and of 3 than it started with.**

Proof. The change of a slope between two points is an average of Hessians times the change of the point, c(x) - c(y) =
A (x - y): terms of one response add to the diagonal of A, above zero as psi' rises strictly, and terms of a difference
add (1, -1; -1, 1) times a number that is not negative. So A is an M-matrix, its inverse has no negative entry, and

    c(x) >= c(y) implies x >= y, for each pair; with > where c(x) > c(y).                                            (*)

In the logits the risk has the slopes c_k - pi_k C, C = sum of the four c; for the fifth, - pi_4 C. The risk falls along
the flow, all terms are bounded below, and one of each response grows without end on the left: the four x stay in
a compact set, on which slopes and curvatures in the logits are bounded. As the squared gradient has a finite integral
over time, and changes at a bounded rate, it tends to 0. At a limit point, where pi_4 may be 0,

    c_k = pi_k C for the four,    pi_4 C = 0.

If C >= 0, no c is negative: by (*) x_0 > x^0_0 and x_1 > x^0_1, as c > grad G(x^0) there, and x_2, x_3 are at least
what they are under pi_ref. Then the four probabilities add up to more than 1, which they cannot. So C < 0: the slopes
of 2 and 3 are below zero, what they are at pi_ref, and by (*) both x are below. That holds at all limit points, which
are a compact set: in the end both stay below pi_ref by something.

So it is for a margin beside rewards that are anchored at the reference, and for such rewards alone: the pair's places
are where its own slopes vanish, and pairs that ask for more than there is take it from those that ask for nothing.
"""

from __future__ import annotations

import numpy as np

from ..._types import Floats
from ...bandit import Bandit
from ...losses import PairObjective
from ...losses.psi import Logistic, Square
from ..verdict import FAILS
from .boxes import SingleScores
from .examples import ONE_PAIR
from .rule import Conclusion, Known, Rule

SUMMARY = "training can take probability from both responses of a pair"
REFERENCE = [0.5, 0.1, 0.15, 0.15, 0.1]
OPTIMAL = [0.6, 0.03, 0.15, 0.15, 0.07]
PAIRS = [
    [0.0, 1.0, 0.0, 0.0, 0.0],
    [1.0, 0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 1.0, 0.0],
    [0.0, 0.0, 1.0, 0.0, 0.0],
    [0.0] * 5,
]
LAMS = (1.0, 0.1)
ROOM = 1 - REFERENCE[2] - REFERENCE[3] + 1e-9
"""What the first pair must ask for, more than is left beside the second."""


def asked_for(scores: SingleScores, room: float = ROOM) -> Floats | None:
    """Probabilities (2,) that add up to ``room``, at which both slopes are below zero; None if none is seen."""
    t = np.linspace(-30.0, 30.0, 2001)
    x = np.log(room) - np.logaddexp(0.0, np.stack([-t, t], axis=1))
    _, above = scores.gradient(x, x)
    best = int(above.max(axis=1).argmin())
    return np.exp(x[best]) if (above[best] < 0).all() else None


def _do_not_fit(known: Known) -> Conclusion | None:
    objective = known.subject.objective
    if not (isinstance(objective, PairObjective) and known.shape.alone) or objective.auxiliary:
        return None
    bandit = Bandit(REFERENCE, OPTIMAL, PAIRS)
    for lam in LAMS:
        first, second = (SingleScores.of(objective, part, lam) for part in _parts(bandit))
        if first is None or second is None or not (_held(first) and _held(second)):
            return None
        at = np.log(bandit.reference[None, 2:4])
        low, high = second.gradient(at, at)
        if np.abs(high + low).max() <= high.max() - low.min() and asked_for(first) is not None:
            return Conclusion(FAILS, SUMMARY)
    return None


def _parts(bandit: Bandit) -> list[Bandit]:
    """Each pair with one response for all others."""

    def merged(policy: Floats, at: slice) -> Floats:
        return np.append(policy[at], 1 - policy[at].sum())

    assert bandit.optimal is not None
    ends = (slice(0, 2), slice(2, 4))
    return [Bandit(merged(bandit.reference, at), merged(bandit.optimal, at), ONE_PAIR) for at in ends]


def _held(scores: SingleScores) -> bool:
    """Whether every term is one of the theorem's, and each response has one that grows without end on the left."""
    grows = np.zeros(2, dtype=bool)
    for term in scores.terms:
        if type(term.psi) not in (Logistic, Square) or term.weight < 0:
            return False
        single = term.slope == 0
        if not single.any():
            if not np.isclose(term.slope.sum(), 0.0, atol=1e-12 * np.abs(term.slope).max()):
                return False
        elif not single.all() and term.weight > 0:
            (k,) = np.flatnonzero(~single)
            assert term.psi.slopes is not None
            left, right = term.psi.slopes
            grows[k] |= float(left if term.slope[k] > 0 else -right) < 0
    return bool(grows.all())


RULES = (
    Rule(
        "places_that_do_not_fit",
        "displacement",
        "If logistic losses or squares of single log-probabilities hold every response to a place, and pairs enter by "
        "their differences, those that ask for more than there is take it from both of a pair that is at its place.",
        _do_not_fit,
    ),
)
