r"""SLiC, whose hinge has a kink: by smoothing the kink away, then by the pairs that were found to lie on it.

For a width w, w softplus(x/w) tends to max(0, x) as w falls. The smoothed objective is one of logistic losses, with
self-concordance max(1, 1/w), which Newton's method solves, from wide to narrow, each time from the last solution. In
the end a pair is beyond the kink, before it, or on it. Log-ratios of pairs on the kink are the margin exactly, which
ties responses into groups; the groups' masses follow from the other pairs, whose slopes are known.

**Error bound** [ours]. With a multiplier a_e in [0, weight_e] for every pair, p = pi_ref + (1/s) sum_e a_e (e_winner -
e_loser), s being the strength of the regulariser, and H the entropy, F(theta) >= D(a) for all theta, where

    D(a) = margin sum_e a_e + s (H(p) + sum pi_ref log pi_ref)      (p >= 0),

because max(0, x) >= (a/weight) x. F is s times log-sum-exp plus what is convex, so that F(theta) - min F >= s KL(pi* ||
pi) >= s |pi - pi*|^2 / 2, and the gap F(theta) - D(a), rounding included, bounds the 1-norm error of the policy.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.special import expit, xlogy

from .._array import Array, log_sigmoid
from ..divergences import Divergence
from ..losses.base import Claims, PairObjective
from ..losses.hinge import SLiC
from .certificate import UNIT
from .newton import newton
from .problem import Problem, log_softmax

Floats = NDArray[np.float64]

NARROWEST = 1e-9
SHRINK = 0.2
ON_THE_KINK = 1e-6


@dataclass(frozen=True)
class SmoothedSLiC(PairObjective):
    """w softplus((margin - h)/w) + lam KL(pi_ref || pi)."""

    margin: float
    width: float
    name: ClassVar[str] = "smoothed_slic"

    @property
    def regulariser(self) -> Divergence | None:
        return SLiC(1.0).regulariser

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array) -> Array:
        return -self.width * log_sigmoid(((logp_w - logp_l) - self.margin) / self.width)

    @property
    def claims(self) -> Claims:
        return Claims(True, False, False, True, max(1.0, 1.0 / self.width))


def smoothed_optimum(problem: Problem, margin: float, start: Floats) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Logits (n, B), proven bounds on the policies' 1-norm errors (B,), nan where none is, and Newton steps (B,)."""
    theta, steps, width = start, np.zeros(problem.size, dtype=np.intp), 1.0
    while True:
        smooth = dataclasses.replace(problem, objective=SmoothedSLiC(problem.objective.lam, margin, width))
        theta, taken, _ = newton(smooth, theta)
        steps = steps + taken
        if width <= NARROWEST:
            break
        width = max(width * SHRINK, NARROWEST)
    multipliers = problem.weight * expit((margin - _log_ratios(problem, theta)) / width)
    gap = _gap(problem, margin, theta, multipliers)
    for b in range(problem.size):
        one = problem.take(np.array([b]))
        sharp = _sharpen(one, margin, theta[:, b], multipliers[:, b])
        if sharp is not None:
            better = _gap(one, margin, *(x[:, None] for x in sharp))[0]
            if better <= gap[b] or not np.isfinite(gap[b]):
                theta[:, b], gap[b] = sharp[0], better
    return theta, np.sqrt(2 * gap / problem.strength) * (1 + 1e-9), steps


def _log_ratios(problem: Problem, theta: Floats) -> Floats:
    return theta[problem.edges.winner] - theta[problem.edges.loser]


def _flow(problem: Problem, multipliers: Floats) -> Floats:
    """sum_e a_e (e_winner - e_loser), (n, B)."""
    return np.asarray(problem.edges.to_winner @ multipliers - problem.edges.to_loser @ multipliers)


def _gap(problem: Problem, margin: float, theta: Floats, multipliers: Floats) -> Floats:
    """F(theta) - D(a) and what rounding can add to it, (B,); nan where p leaves the simplex."""
    strength, reference = problem.strength, np.exp(problem.log_reference)
    log_policy = log_softmax(theta)
    policy = reference + _flow(problem, multipliers) / strength
    policy = np.where((policy > 0).all(axis=0), policy, np.nan)
    # pair by pair and response by response, so that what is equal cancels before it is summed
    excess = margin - _log_ratios(problem, theta)
    from_pairs = problem.weight * np.maximum(excess, 0.0) - multipliers * excess
    from_policy = xlogy(policy, policy) - policy * log_policy
    size = np.abs(problem.log_reference) + np.abs(log_policy) + np.abs(theta) + len(theta) + margin
    rounding = (problem.weight * (margin + np.abs(_log_ratios(problem, theta)))).sum(axis=0)
    rounding = 8 * UNIT * (rounding + strength * (policy * size + reference * size).sum(axis=0))
    return np.maximum(from_pairs.sum(axis=0) + strength * from_policy.sum(axis=0), 0.0) + rounding


def _sharpen(problem: Problem, margin: float, theta: Floats, multipliers: Floats) -> tuple[Floats, Floats] | None:
    """Logits and multipliers if the pairs near the kink are on it; None where these contradict each other."""
    n, (winner, loser), weight = problem.n, problem.edges.ends, problem.weight[:, 0]
    excess = margin - (theta[winner] - theta[loser])
    tied = (np.abs(excess) <= ON_THE_KINK) & (weight > 0)
    multipliers = np.where(tied, multipliers, np.where(excess > 0, weight, 0.0))
    graph = coo_array((np.ones(tied.sum()), (winner[tied], loser[tied])), shape=(n, n)).tocsr()
    count, group = connected_components(graph, directed=False)
    height = np.zeros(n)  # in whole margins above the first of the group
    for g in range(count):
        order, before = breadth_first_order(graph, np.flatnonzero(group == g)[0], directed=False)
        for i in order[1:]:
            height[i] = height[before[i]] + np.rint((theta[i] - theta[before[i]]) / margin)
    if (height[winner[tied]] - height[loser[tied]] != 1).any():
        return None
    strength = problem.strength[0]
    pushed = (
        np.exp(problem.log_reference[:, 0]) + _flow(problem, np.where(tied, 0.0, multipliers)[:, None])[:, 0] / strength
    )
    mass = np.bincount(group, weights=pushed, minlength=count)
    if (mass <= 0).any():
        return None
    odds = np.exp(margin * (height - height.max()))
    policy = odds * (mass / np.bincount(group, weights=odds, minlength=count))[group]
    if tied.any():  # multipliers on the kink must carry what is left
        incidence = np.zeros((n, tied.sum()))
        incidence[winner[tied], np.arange(tied.sum())] = 1.0
        incidence[loser[tied], np.arange(tied.sum())] = -1.0
        missing = strength * (policy - pushed) - incidence @ multipliers[tied]
        mended = multipliers[tied] + np.linalg.lstsq(incidence, missing, rcond=None)[0]
        multipliers[tied] = np.clip(mended, 0.0, weight[tied])
    return np.log(policy), multipliers
