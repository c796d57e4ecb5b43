"""Squares of log-ratios, as for IPO: weighted least squares on the comparison graph, one Laplacian solve."""

from __future__ import annotations

import dataclasses

import numpy as np

from ...losses.psi import Square
from ..certificate import last_step, sums_at_responses
from ..derivatives import value
from ..found import Found
from ..laplacian import eliminate
from ..problem import Problem
from ..scores import policy_of_scores

NAME = "closed_form"


def accepts(problem: Problem) -> bool:
    """Square psis of log-ratios, or of scores' differences, and nothing else."""
    squares = bool(problem.parts) and all(type(part.psi) is Square for part in problem.parts)
    alone = problem.only_pairs and not problem.merged and problem.target is None
    return squares and alone and problem.concordance is not None  # a square of negative weight has no minimum


def solve(problem: Problem) -> Found:
    """sum_j w_ij (x_i - x_j) = what the shifts of i's pairs add up to; then one step of refinement, with a bound."""
    edges, start = problem.edges, np.zeros_like(problem.log_reference)
    weight = shifts = np.zeros((1, problem.size))
    for part in problem.parts:
        at = problem.at(start, part.relative)
        goal = part.shift - part.slope * (at[edges.winner] - at[edges.loser])
        weight = weight + edges.to_pair @ (part.weight * (part.slope * part.slope))
        shifts = shifts + edges.net @ (part.weight * part.slope * goal)
    scores = eliminate(weight).solve(sums_at_responses(shifts))
    scores, error = last_step(problem, scores)
    return dataclasses.replace(policy_of_scores(problem, scores, error), value=value(problem, scores))
