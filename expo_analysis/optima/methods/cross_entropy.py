"""A cross-entropy alone, as for the likelihood of winners: the policy in proportion to its weights."""

from __future__ import annotations

import numpy as np

from ..certificate import UNIT
from ..found import Found, judged
from ..problem import Problem

NAME = "closed_form"


def accepts(problem: Problem) -> bool:
    """No parts but weights of -log pi, none of which is zero."""
    alone = problem.only_pairs and not (problem.is_formula or problem.merged or problem.parts or problem.choices)
    return bool(alone and problem.target is not None and (problem.target > 0).all())


def solve(problem: Problem) -> Found:
    """pi_i = target_i / sum_j target_j."""
    assert problem.target is not None
    log_policy = np.log(problem.target / problem.target.sum(axis=0))
    return judged(log_policy, np.full(problem.size, 4 * UNIT * (problem.n + len(problem.edges.winner))))
