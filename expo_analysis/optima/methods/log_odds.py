"""Bradley-Terry populations, where the log-odds of preferences are the minimisers of all pairs at once."""

from __future__ import annotations

import numpy as np

from ..certificate import UNIT
from ..found import Found
from ..problem import Problem
from ..scores import policy_of_scores

NAME = "closed_form"


def accepts(problem: Problem) -> bool:
    """pi* is known, and c (x_w - x_l) = log p*/(1-p*) minimises every pair's expected loss (`Facts.log_odds_scale`)."""
    known = problem.log_optimal is not None and problem.facts.log_odds_scale is not None
    own = not any(part.relative for part in (*problem.merged, *problem.parts))  # of log pi itself
    logits = problem.only_pairs and problem.target is None and own
    return known and (problem.link is not None or logits)


def solve(problem: Problem) -> Found:
    """x = log pi* / c."""
    assert problem.log_optimal is not None
    scale = problem.facts.log_odds_scale
    error = 2 * UNIT * (np.abs(problem.log_optimal) + 1) / np.abs(scale)
    return policy_of_scores(problem, problem.log_optimal / scale, error)
