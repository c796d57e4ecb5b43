r"""Two responses and losses of sigma(h), which is the probability of the winner itself: stationarity is linear. [ours]

With weights K_i for "i beats the other", soft targets included, and a cross-entropy of weights T_i beside them,
pi_i = (K_i + T_i) / sum_j (K_j + T_j). For EXPO K_i are the wins and T = lam pi_ref. Squared errors of sigma(h) are
least at the weighted mean of their targets.
"""

from __future__ import annotations

import numpy as np

from ..._types import Floats
from ...losses.psi import SquaredSigmoid
from ...losses.statistics import is_number
from ..certificate import UNIT
from ..found import Found, judged
from ..parts import PairPart
from ..problem import Problem

NAME = "closed_form"


def accepts(problem: Problem) -> bool:
    """Two responses, and logistic or squared-error parts of the policy's own log-ratio at scale 1."""
    if problem.n != 2 or problem.link is not None or not problem.only_pairs:
        return False
    merged, squares = problem.merged, problem.parts
    own = all(is_number(part.slope, 1) and not part.relative for part in (*merged, *squares))
    if squares:
        return own and not merged and problem.target is None and all(map(_is_squared, squares))
    return own and bool(merged)


def _is_squared(part: PairPart) -> bool:
    return type(part.psi) is SquaredSigmoid and is_number(part.shift, 0)


def solve(problem: Problem) -> Found:
    """Log-policies, and a bound of a few roundings."""
    first, second, size = _weights(problem)  # of response 1, which is the high end of the pair, and of response 0
    if problem.target is not None:
        first, second, size = first + problem.target[1], second + problem.target[0], size + problem.target.sum(axis=0)
    inside = (first > 0) & (second > 0)
    policy = np.where(inside, np.stack([second, first]), 1.0)
    total = policy.sum(axis=0)
    found = judged(np.log(policy / total), 16 * UNIT * np.where(inside, size, 1.0) / total)
    found.passed_on[:] = ~inside
    return found


def _weights(problem: Problem) -> tuple[Floats, Floats, Floats]:
    """What speaks for response 1, and for response 0, and the moduli of what these are sums of, added; (B,) each."""
    first = second = size = np.zeros(problem.size)
    for merged in problem.merged:
        first, second = first + merged.logistic.kept[0], second + merged.logistic.flipped[0]
        size = size + merged.size[0]
    up, down = problem.edges.upward, problem.edges.downward
    for part in problem.parts:
        assert isinstance(part.psi, SquaredSigmoid)
        hit, missed = part.weight * part.psi.target, part.weight * part.psi.miss
        first = first + (up @ hit + down @ missed)[0]
        second = second + (up @ missed + down @ hit)[0]
        size = size + (np.abs(hit) + np.abs(missed)).sum(axis=0)
    return first, second, size
