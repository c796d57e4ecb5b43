r"""The error bound for convex losses that read log pi_w and log pi_l apart, of which a self-concordance is known.

With f the loss of a pair, and g the gradient by the chain rule of `problem.expand`, whose entries add up to 0: let one
response, the hub, have what the others leave. Then an error of size e_i of g_i is a current from i to the hub j, and
costs at most e_i sqrt(R_ij) in the norm sqrt(g' H^+ g). The Hessian's edge weights must not be negative, as the
elimination never subtracts. The derivatives of a bare formula are by torch; what they are off by is taken to be a few
roundings of their size or M, or what is measured, whichever is larger (see `measured`). [ours]
"""

from __future__ import annotations

import numpy as np

from .._types import Floats
from .certificate import UNIT, policy_error, target_rounding
from .derivatives import expand, log_softmax
from .laplacian import eliminate, pairs, resistances
from .measured import formula_rounding_of_ends
from .problem import Problem


def formula_error(problem: Problem, x: Floats) -> Floats:
    """A bound on the 1-norm distance of softmax(x), x (n, B), from the minimiser; nan where none is proven."""
    if not (problem.is_formula and problem.facts.convex and problem.divergence is None):
        return np.full(problem.size, np.nan)
    x = x - (x.max(axis=0) + x.min(axis=0)) / 2
    n, m = problem.n, np.broadcast_to(np.asarray(problem.concordance, dtype=np.float64), x.shape[1:])
    policy, local = np.exp(log_softmax(x)), expand(problem, x)
    per_response, blur = rounding_of_formula(problem, x)
    curvature = local.curvature * (1 - 1e-6) - blur
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        elimination = eliminate(np.maximum(curvature, 0.0))
        resistance = resistances(elimination)
        cost = np.einsum("ijb,ib->jb", np.sqrt(resistance), per_response)
        hub, column = np.nan_to_num(cost, nan=np.inf).argmin(axis=0), np.arange(problem.size)
        gradient = local.gradient.copy()
        gradient[hub, column] = 0.0
        gradient[hub, column] = -gradient.sum(axis=0)
        norm = np.sqrt(np.maximum((gradient * elimination.solve(gradient)).sum(axis=0), 0.0)) * (1 + 1e-6)
        norm = norm + cost[hub, column]
        reach = np.sqrt(resistance.max(axis=(0, 1))) * norm
        delta = m * reach
        r = np.where(m > 0, -np.log1p(-np.where(delta < 1, delta, np.nan)) / np.where(m > 0, m, 1.0), reach)
        r = r + 4 * UNIT * (np.abs(x).max(axis=0) + n)  # log-softmax
    proven = np.isfinite(r) & (curvature >= 0).all(axis=0)
    return np.where(proven, policy_error(policy, np.where(proven, r, np.nan)), np.nan)


def rounding_of_formula(problem: Problem, x: Floats) -> tuple[Floats, Floats]:
    """Errors of the gradient in the logits x (n, B), by response, and of the Hessian's weights, by `pairs`."""
    edges, n, log_policy = problem.edges, problem.n, log_softmax(x)
    policy, weight = np.exp(log_policy), problem.weight
    error, size, bend = formula_rounding_of_ends(problem, log_policy)

    def at_ends(values: tuple[Floats, Floats]) -> Floats:
        return np.asarray(edges.to_winner @ (weight * values[0]) + edges.to_loser @ (weight * values[1]))

    count = n + len(edges.winner)
    own = at_ends(error) + 2 * UNIT * count * at_ends(size)
    # what all share: the sum of a, and the rounding of pi
    total = own.sum(axis=0) + 2 * UNIT * count * at_ends(size).sum(axis=0)
    logs = 8 + count + np.abs(log_policy) + 2 * np.abs(x)
    per_response = own + policy * (total + 2 * UNIT * logs * at_ends(size).sum(axis=0))
    high, low = pairs(n)
    blur = edges.to_pair @ (weight * bend) + (policy[high] + policy[low]) * (weight * bend).sum(axis=0)
    return per_response + target_rounding(problem, x), 16 * UNIT * blur
