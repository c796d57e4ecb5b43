r"""Minima on the boundary of the simplex, where searches in the logits tend to but never are.

A policy without some response counts as a minimiser of an objective that has a value there: one with a divergence of
finite slope at 0, or with margins that are all finite at probability 0, which is continuous on the closed simplex and
so has a minimiser. (A loss of log-probabilities lives on the open simplex.) A point of a face is a minimum, to first
order, where the objective is stationary along the face and rises with the mass of each response that is missing. [ours,
elementary: the conditions of Karush, Kuhn and Tucker]
"""

from __future__ import annotations

import numpy as np

from .._types import Floats, Mask
from ..losses.base import Objective, PairObjective
from .derivatives import expand, gradient_size, log_softmax
from .extremes import lstsq
from .found import VANISHED
from .laplacian import pairs
from .levenberg import derivatives_at
from .problem import Problem

FLOOR = 400.0
"""Logits of what is missing are this much below the largest: small enough, but no underflow."""
NEAR, SETTLED = 1e-5, 1e-10
"""Slopes along the face relative to their parts: where a search has come so near that Newton's steps end it, and where
they have."""
STEPS = 20
TINIEST = -690.0
"""log pi of a response that is missing, for code that has no value at -inf."""


def has_closed_domain(objective: Objective) -> bool:
    """Whether it is a continuous function on the closed simplex, as all it reads is finite at probability 0."""
    if not isinstance(objective, PairObjective):
        return False
    facts, own = objective.facts, objective.regulariser
    atoms = [atom for term in facts.terms for _, atom in term.statistic.parts]
    bounded = own is None or bool(np.isfinite(own.mu_at_zero))
    return bool(atoms) and bounded and all(atom.finite_at_zero for atom in atoms)


def may_be_on_a_face(objective: Objective) -> bool:
    """Whether policies on the boundary count; beside a divergence pairs of which both are missing have no value."""
    regulariser = objective.regulariser if isinstance(objective, PairObjective) else None
    return has_closed_domain(objective) or (regulariser is not None and bool(np.isfinite(regulariser.mu_at_zero)))


@np.errstate(all="ignore")
def minimum_on_face(problem: Problem, theta: Floats) -> Floats | None:
    """log pi (n, 1) of the minimum on the face where a search's responses have vanished, from its logits (n, 1).

    None where it is not shown that there is one. What falls without bound on the way, as a part of log pi, has none.
    """
    if not may_be_on_a_face(problem.objective):
        return None
    theta = np.maximum(theta, theta.max(axis=0) - FLOOR)
    inside = log_softmax(theta)[:, 0] >= np.log(VANISHED)
    theta[~inside] = theta.max() - FLOOR
    if inside.all() or not _slope(problem, theta, inside) <= NEAR:
        return None
    for _ in range(STEPS):
        if _slope(problem, theta, inside) <= SETTLED / 100:
            break
        theta = theta + _newton(problem, theta, inside)
    if not _slope(problem, theta, inside) <= SETTLED:
        return None
    log_policy, gradient = log_softmax(theta), expand(problem, theta).gradient
    outside = gradient[~inside]
    if np.abs(outside).max() > VANISHED * gradient_size(problem, theta).max():
        return None
    if not (outside / np.exp(log_policy[~inside]) > 0).all():
        return None
    return np.where(inside[:, None], log_policy, -np.inf)


def _slope(problem: Problem, theta: Floats, inside: Mask) -> float:
    """The largest slope along the face, relative to what it is a sum of; 0 at a vertex."""
    if inside.sum() == 1:
        return 0.0
    gradient = expand(problem, theta).gradient[inside]
    return float((np.abs(gradient) / np.maximum(gradient_size(problem, theta)[inside], 1e-300)).max())


def _newton(problem: Problem, theta: Floats, inside: Mask) -> Floats:
    """Newton's step along the face, (n, 1)."""
    gradient, curvature, _ = derivatives_at(problem, theta)
    high, low = pairs(problem.n)
    hessian = np.zeros((problem.n, problem.n))
    hessian[high, low] = hessian[low, high] = -curvature[:, 0]
    hessian[np.diag_indices(problem.n)] = -hessian.sum(axis=1)
    step = np.zeros_like(theta)
    own = hessian[np.ix_(inside, inside)]
    if np.isfinite(own).all() and np.isfinite(gradient).all():
        step[inside] = lstsq(own, -gradient[inside], rcond=1e-12)
    return np.clip(step, -1.0, 1.0)
