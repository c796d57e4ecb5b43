r"""Losses that are piecewise linear in the margins, such as the hinge: a linear program in the scores.

    min over z, t of  sum_e w_e t_e   with   t_e >= slope_k (z_winner - z_loser) + intercept_k   for every piece k.

**All minimisers from one** [ours]. Let y_ek >= 0 be the multipliers at one solution; sum_k y_ek = w_e. By
complementary slackness z is a minimiser if and only if on every edge each piece with y_ek > 0 is a largest one, that
is, if its margin lies in the interval where these pieces are. So the minimisers are exactly the solutions of a system
of differences,

    low_e <= z_winner - z_loser <= high_e,

and the largest value of z_i - z_j among them is the length of a shortest path. Hence no further program is needed to
tell whether the minimiser is unique, which differences are open, and whether they are bounded. Multipliers below
`NEGLIGIBLE` times their pair's weight count as zero: weights that tie to within that are taken to tie.

Where minimisers are many, the one nearest to the reference, with the least sum of squares of the scores around their
mean, is found by least-distance programming (Lawson and Hanson 1974, ch. 23).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog, nnls
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..._types import Floats, Mask
from ..edges import Edges
from ..found import Found, judged
from ..problem import Problem
from ..scores import from_scores
from ..solution import Certificate, Status

NEGLIGIBLE = 1e-9
SAME = 1e-7


@dataclass(frozen=True)
class LinearOptimum:
    """scores (n, B); the groups of responses between which scores are fixed; whether open differences are unbounded.

    One group means that the scores are unique. solved: (B,), False where the program has no solution.
    """

    scores: Floats
    groups: list[list[tuple[int, ...]]]
    unbounded: Mask
    solved: Mask


NAME = "auto"


def accepts(problem: Problem) -> bool:
    """One part that is a maximum of straight lines in scores' differences, and nothing else."""
    if problem.link is None or not problem.only_pairs or problem.merged or len(problem.parts) != 1:
        return False
    (part,) = problem.parts
    return part.psi.linear_pieces is not None and np.ndim(part.slope) < 2 and np.ndim(part.shift) < 2


def solve(problem: Problem) -> Found:
    """The minimisers, problem by problem: one of them, and whether there are others; no error bound is proven."""
    assert problem.link is not None and problem.responses is not None
    found = linear_optimum(problem)
    log_policy, _ = from_scores(problem.link, problem.log_reference, found.scores, np.zeros(problem.size))
    result = judged(log_policy, np.zeros(problem.size))
    result.bound[:], result.certificate[:] = np.nan, Certificate.CONDITIONS
    for b in range(problem.size):
        if not found.solved[b]:
            result.status[b], result.certificate[b] = Status.FAILED, Certificate.NONE
            result.message[b] = "the linear program of the scores was not solved"
        elif len(found.groups[b]) > 1:
            groups = sorted(sorted(problem.responses[list(group), b].tolist()) for group in found.groups[b])
            names = ", ".join(map(str, groups))
            how = "some of them without bound" if found.unbounded[b] else "within bounds"
            result.status[b] = Status.NOT_UNIQUE
            result.message[b] = (
                f"the loss is least for many policies: between responses {names} the log-ratios are open, {how}; the "
                "policy returned is the one whose scores are nearest to the reference's"
            )
    result.passed_on[:] = np.isneginf(log_policy).any(axis=0)  # no policy has these scores
    return result


def linear_optimum(problem: Problem) -> LinearOptimum:
    """Minimisers over the scores, problem by problem."""
    (part,) = problem.parts
    assert part.psi.linear_pieces is not None
    # a m + b with m = slope (z_w - z_l) - shift
    lines = np.array(
        [
            [np.broadcast_to(x, problem.size) for x in (a * part.slope, b - a * part.shift)]
            for a, b in part.psi.linear_pieces
        ]
    )
    scores = np.zeros((problem.n, problem.size))
    unbounded, solved = np.zeros(problem.size, dtype=bool), np.zeros(problem.size, dtype=bool)
    groups: list[list[tuple[int, ...]]] = []
    for b in range(problem.size):
        slopes, intercepts = lines[:, :, b].T
        unit = np.abs(slopes).max()  # scores in units in which the steepest slope is 1
        found = _solve_one(problem.edges, part.weight[:, b], slopes / unit, intercepts)
        solved[b] = found is not None
        if found is None:
            groups.append([tuple(range(problem.n))])
            continue
        z, reach = found
        fixed = reach + reach.T <= SAME
        _, labels = connected_components(fixed, directed=False)
        groups.append([tuple(np.flatnonzero(labels == label).tolist()) for label in range(labels.max() + 1)])
        unbounded[b] = np.isinf(reach).any()
        scores[:, b] = (z if len(groups[-1]) == 1 else _nearest(z, reach)) / unit
    return LinearOptimum(scores, groups, unbounded, solved)


def _solve_one(edges: Edges, weight: Floats, slopes: Floats, intercepts: Floats) -> tuple[Floats, Floats] | None:
    """One minimiser z (n,), and reach (n, n): the largest value of z_i - z_j among all; None where none exists."""
    n, used = edges.n, np.flatnonzero(weight > 0)
    winner, loser, weight = edges.winner[used], edges.loser[used], weight[used] / weight.sum()
    e, k = len(used), len(slopes)
    row = np.arange(e * k)
    edge, piece = np.divmod(row, k)
    entries = np.concatenate([slopes[piece], -slopes[piece], -np.ones(e * k)])
    columns = np.concatenate([winner[edge], loser[edge], n + edge])
    bounds: list[tuple[float | None, float | None]] = [(0.0, 0.0), *[(None, None)] * (n + e - 1)]
    solution = linprog(
        np.concatenate([np.zeros(n), weight]),
        A_ub=coo_array((entries, (np.tile(row, 3), columns)), shape=(e * k, n + e)).toarray(),
        b_ub=-intercepts[piece],
        bounds=bounds,
        method="highs-ds",
    )
    if not solution.success:
        return None
    z = np.asarray(solution.x)[:n]
    active = -np.asarray(solution.ineqlin.marginals).reshape(e, k) > NEGLIGIBLE * weight[:, None]
    left, right = _ranges(slopes, intercepts)
    low = np.where(active, left, -np.inf).max(axis=1)
    high = np.where(active, right, np.inf).min(axis=1)
    reach = np.full((n, n), np.inf)  # z_i - z_j <= reach_ij, from each edge and then along paths
    np.minimum.at(reach, (winner, loser), high)
    np.minimum.at(reach, (loser, winner), -low)
    np.fill_diagonal(reach, 0.0)
    # from z every length is at least 0 but for rounding, which must not make cycles of negative length
    lengths = np.maximum(reach - (z[:, None] - z), 0.0)
    for via in range(n):
        lengths = np.minimum(lengths, lengths[:, via, None] + lengths[via])
    return z, lengths + (z[:, None] - z)


def _ranges(slopes: Floats, intercepts: Floats) -> tuple[Floats, Floats]:
    """The margins between which each piece is the largest; crossed over where it never is."""
    left, right = np.full(len(slopes), -np.inf), np.full(len(slopes), np.inf)
    for a, b in itertools.permutations(range(len(slopes)), 2):
        if slopes[a] != slopes[b]:
            crossing = (intercepts[b] - intercepts[a]) / (slopes[a] - slopes[b])
            if slopes[a] > slopes[b]:
                left[a] = max(left[a], crossing)
            else:
                right[a] = min(right[a], crossing)
    return left, right


def _nearest(z: Floats, reach: Floats) -> Floats:
    """The solution of x_i - x_j <= reach_ij with the least sum of squares; z is any solution."""
    i, j = np.nonzero(np.isfinite(reach) & ~np.eye(len(z), dtype=bool))
    constraints = np.zeros((len(i), len(z)))  # constraints @ x >= limits
    constraints[np.arange(len(i)), i], constraints[np.arange(len(i)), j] = -1.0, 1.0
    limits = -reach[i, j]
    residual_of = np.vstack([constraints.T, limits])
    goal = np.r_[np.zeros(len(z)), 1.0]
    residual = residual_of @ nnls(residual_of, goal)[0] - goal
    if residual[-1] == 0.0:
        return z
    x: Floats = -residual[:-1] / residual[-1]
    return x if np.isfinite(x).all() and (constraints @ x >= limits - SAME).all() else z
