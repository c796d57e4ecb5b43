r"""Scores that are linear in the policy, as for chi-square: the optimum may be on the boundary of the simplex.

With mu(u) = 2 (u - 1) a convex psi of mu(u_w) - mu(u_l) is convex in pi. In u = pi/pi_ref the problem is

    min F(u)    with  sum_i pi_ref,i u_i = 1,  u >= 0,

and u is a minimiser if and only if, for some nu, dF/du_i + nu pi_ref,i is 0 where u_i > 0 and at least 0 where u_i = 0.
An active-set Newton method finds such a point: responses leave the simplex's interior where a step would make them
negative, and come back where their multiplier is. Over connected pairs a strictly convex psi has one minimiser. [ours]
"""

from __future__ import annotations

import numpy as np

from ..._types import Floats
from ...divergences import ChiSquare
from ..derivatives import expand
from ..extremes import lstsq
from ..found import Found, named, texts
from ..problem import Problem
from ..solution import Certificate, Status

NAME = "auto"
MAX_STEPS = 200
TOLERANCE = 1e-10


def accepts(problem: Problem) -> bool:
    """Convex psis of chi-square's scores, twice differentiable."""
    return type(problem.link) is ChiSquare and problem.facts.score_concordance is not None


def solve(problem: Problem) -> Found:
    """Problem by problem; no error bound is proven, but that the conditions for a minimum hold."""
    size = problem.size
    log_policy, bound = np.full_like(problem.log_reference, -np.inf), np.full(size, np.nan)
    steps = np.zeros(size, dtype=np.intp)
    status, certificate, message = texts(Status.OPTIMAL, size), texts(Certificate.CONDITIONS, size), texts("", size)
    passed_on = np.zeros(size, dtype=bool)
    for b in range(size):
        u, steps[b], found = _active_set(problem.take(np.array([b])))
        inside = u > 0
        log_policy[inside, b] = problem.log_reference[inside, b] + np.log(u[inside])
        passed_on[b] = not found
        zero = named(problem, np.broadcast_to(~inside[:, None], log_policy.shape), b)
        message[b] = "the minimiser: the objective is convex and its conditions hold"
        if zero:
            message[b] = f"the minimiser, on the boundary: responses {zero} have probability 0 (KKT conditions hold)"
    return Found(log_policy, bound, steps, status, certificate, message, passed_on)


def _active_set(problem: Problem) -> tuple[Floats, int, bool]:
    """u (n,), steps, and whether the conditions for a minimum hold there."""
    n, reference = problem.n, problem.reference[:, 0]
    u, free = np.ones(n), np.ones(n, dtype=bool)
    for step in range(1, MAX_STEPS + 1):
        gradient, hessian = _derivatives(problem, u)
        # Newton's step on the free responses, along the simplex
        k = int(free.sum())
        system = np.zeros((k + 1, k + 1))
        system[:k, :k] = hessian[np.ix_(free, free)]
        system[k, :k] = system[:k, k] = reference[free]
        move = np.zeros(n)
        solution = lstsq(system, np.append(-gradient[free], 0.0), rcond=None)
        move[free], nu = solution[:k], solution[k]
        falls = free & (move < 0)
        longest = np.where(falls, -u / np.where(falls, move, -1.0), np.inf)
        length = min(1.0, float(longest.min()))
        u = np.maximum(u + length * move, 0.0)
        size = TOLERANCE * (np.abs(gradient).max() + np.abs(nu) * reference.max())
        if length < 1.0:  # what would become negative stays at 0
            free &= ~(longest <= length)
            u[~free] = 0.0
        elif np.abs(move).max() <= 1e-13 * max(1.0, u.max()):
            pull = gradient + nu * reference
            worst = int(np.argmin(np.where(free, np.inf, pull)))
            if free.all() or pull[worst] >= -size:
                return u, step, bool((np.abs(pull[free]) <= size).all())
            free[worst] = True
    return u, MAX_STEPS, False


def _derivatives(problem: Problem, u: Floats) -> tuple[Floats, Floats]:
    """Gradient (n,) and Hessian (n, n) of the psis in u; scores are 2 (u - 1)."""
    n = problem.n
    local = expand(problem, 2 * (u - 1)[:, None])
    weights = np.zeros((n, n))
    weights[np.tril_indices(n, -1)] = local.curvature[:, 0]
    weights = weights + weights.T
    return 2 * local.gradient[:, 0], 4 * (np.diag(weights.sum(axis=1)) - weights)
