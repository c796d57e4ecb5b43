"""Squared errors of sigma(h): many starts, and a proof where what is no larger lies in a convex box."""

from __future__ import annotations

import numpy as np

from ...losses.psi import SquaredSigmoid
from ...losses.statistics import is_number
from ..certificate import policy_error, squared_error_bound
from ..found import Found
from ..problem import Problem
from ..solution import Certificate, Status
from . import multistart

NAME = "multistart"


def accepts(problem: Problem) -> bool:
    """One `SquaredSigmoid` part of the policy's own log-ratio, and nothing else."""
    if problem.link is not None or not problem.only_pairs or problem.merged or len(problem.parts) != 1:
        return False
    (part,) = problem.parts
    plain = is_number(part.slope, 1) and is_number(part.shift, 0) and not part.relative
    return type(part.psi) is SquaredSigmoid and plain and problem.target is None


def solve(problem: Problem) -> Found:
    """The lowest of many searches; the minimiser, with an error bound, where the box proves it."""
    found = multistart.solve(problem)
    theta = np.where(np.isfinite(found.log_policy), found.log_policy, -700.0)
    bound = policy_error(np.exp(theta), squared_error_bound(problem, theta))
    proven = np.isfinite(bound)
    found.bound[proven] = bound[proven]
    found.status[proven], found.certificate[proven] = Status.OPTIMAL, Certificate.ERROR_BOUND
    found.message[proven] = "the minimiser, as the objective is convex wherever it is no larger"
    return found
