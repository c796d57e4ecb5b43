r"""The error bound for losses that add the winner's likelihood to a logistic loss: CPO, RPO and SFT.

`certificate` bounds rounding for losses of log-ratios alone. Here the gradient in the logits has a second part,

    g_i = sum over pairs of the logistic currents  +  alpha (W pi_i - sum of the weights that i wins with),

W being the sum of all weights, and the Hessian's edge weights are a sum of positive terms, W alpha pi_i pi_j and those
of the logistic loss. What is bounded is the same as there: delta = M sqrt(R) sqrt(g' H^+ g), with M = max(1, lam) for
the sum. An error of size e_i at a response, whatever those at the others, costs at most e_i max_j sqrt(R_ij) in the
norm, as it is the mean of currents from i to each j. [ours]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ..losses import CPO, RPO, SFT
from ..losses.base import has_formula_of
from ..losses.likelihood import WithLikelihood
from .certificate import UNIT, policy_error
from .laplacian import eliminate, incidence, pairs, resistances
from .problem import Problem, log_softmax

Floats = NDArray[np.float64]


def has_likelihood(problem: Problem) -> bool:
    """Whether `likelihood_policy_error` knows the objective."""
    return any(has_formula_of(problem.objective, cls) for cls in (CPO, RPO, SFT))


def likelihood_policy_error(problem: Problem, theta: Floats) -> Floats:
    """A bound on the 1-norm distance of softmax(theta), theta (n, B), from the minimiser; nan where none is proven."""
    objective, edges, weight, n = problem.objective, problem.edges, problem.weight, problem.n
    theta = theta - (theta.max(axis=0) + theta.min(axis=0)) / 2
    log_policy = log_softmax(theta)
    policy = np.exp(log_policy)
    scale = np.zeros(problem.size) if isinstance(objective, SFT) else objective.lam
    alpha = objective.alpha if isinstance(objective, WithLikelihood) else 1.0
    m = np.maximum(1.0, scale)

    at = theta - problem.log_reference if isinstance(objective, RPO) else theta
    size = np.abs(theta) + (np.abs(problem.log_reference) + 2.0 if isinstance(objective, RPO) else 0.0)
    logits = scale * (at[edges.winner] - at[edges.loser])
    slope, bend = scale * expit(-logits), scale**2 * expit(logits) * expit(-logits)
    blur = 2 * UNIT * (size[edges.winner] + size[edges.loser])  # of the log-ratio

    total, won = weight.sum(axis=0), edges.to_winner @ weight
    currents = edges.net @ (weight * slope)
    gradient = alpha * (total * policy - won) - incidence(n) @ currents
    high, low = pairs(n)
    firm = bend * np.maximum(1.0 - 8 * UNIT - 2 * scale * blur, 0.0)
    curvature = (edges.to_pair @ (weight * firm) + alpha * total * policy[high] * policy[low]) * (1 - 1e-6)

    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        elimination = eliminate(curvature)
        resistance = resistances(elimination)
        root = np.sqrt(resistance)
        centred = gradient - gradient.mean(axis=0)
        norm = np.sqrt(np.maximum((centred * elimination.solve(centred)).sum(axis=0), 0.0)) * (1 + 1e-6)
        per_pair = weight * (8 * UNIT * slope + 2 * blur * bend)
        norm = norm + (per_pair * root[edges.winner, edges.loser]).sum(axis=0)
        terms = abs(incidence(n)) @ np.abs(currents)
        count = n + len(edges.winner)
        rounded = total * policy * (8 + count + np.abs(log_policy) + 2 * np.abs(theta)) + count * won
        per_response = 2 * UNIT * (alpha * rounded + count * terms)
        norm = norm + (per_response * root.max(axis=1)).sum(axis=0)
        delta = m * np.sqrt(resistance.max(axis=(0, 1))) * norm
        r = -np.log1p(-np.where(delta < 1, delta, np.nan)) / m
        r = r + 4 * UNIT * (np.abs(theta).max(axis=0) + n)  # log-softmax
    bound = policy_error(policy, np.where(np.isfinite(r), r, np.nan))
    return np.where(np.isfinite(r), bound, np.nan)
