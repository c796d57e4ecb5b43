r"""Losses that are piecewise linear in the margins, such as the hinge: a linear program in the scores.

    min over z, t of  sum_e w_e t_e   with   t_e >= slope_k (z_winner - z_loser) + intercept_k   for every piece k.

**All minimisers from one** [ours]. Let y_ek >= 0 be the multipliers at one solution; sum_k y_ek = w_e. By
complementary slackness z is a minimiser if and only if on every edge each piece with y_ek > 0 is a largest one, that
is, if its margin lies in the interval where these pieces are. So the minimisers are exactly the solutions of a system
of differences,

    low_e <= z_winner - z_loser <= high_e,

and the largest value of z_i - z_j among them is the length of a shortest path. Hence no further program is needed to
tell whether the minimiser is unique, which differences are open, and whether they are bounded. Multipliers below
`NEGLIGIBLE` count as zero, and so do costs for the solver: weights that tie to 1e-14 of their sum are taken to tie.
The multipliers also bound how far from z every minimiser is (`sharp`), which is the proof where there is one only.

Where minimisers are many, the one nearest to the reference, with the least sum of squares of the scores around their
mean, is found by least-distance programming (Lawson and Hanson 1974, ch. 23).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..._types import Floats, Indices, Mask
from ...bandit.labels import called
from ...divergences import ReverseKL
from ..found import Found, judged
from ..least_distance import least_norm
from ..problem import Problem
from ..scores import from_scores
from ..sharp import nearest
from ..solution import Certificate, Status

WEIGHT, NEGLIGIBLE = 1e5, 1e-9
"""The sum of all weights, and what is nothing beside it. The solver's own tolerance is 1e-10 at the finest: in units of
their sum it would not see a thread of 1e-10."""
SAME = 1e-7


@dataclass(frozen=True, eq=False)
class LinearOptimum:
    """scores (n, B); the groups of responses between which scores are fixed; whether open differences are unbounded.

    One group means that the scores are unique. error: (B,), a number above the range of what they are off by; inf where
    that is not proven. solved: (B,), False where the program has no solution.
    """

    scores: Floats
    error: Floats
    groups: list[list[tuple[int, ...]]]
    unbounded: Mask
    solved: Mask


NAME = "auto"


def accepts(problem: Problem) -> bool:
    """Maxima of straight lines in scores' differences, or in log-ratios, and nothing else."""
    alone = problem.only_pairs and not problem.merged and problem.target is None
    lines = bool(problem.parts) and all(part.psi.linear_pieces is not None for part in problem.parts)
    return alone and lines and problem.facts.psis_convex


def solve(problem: Problem) -> Found:
    """The minimisers, problem by problem: one of them, and whether there are others."""
    assert problem.responses is not None
    found = linear_optimum(problem)
    link = ReverseKL() if problem.link is None else problem.link
    proven = np.isfinite(found.error)
    log_policy, bound = from_scores(link, problem.log_reference, found.scores, np.where(proven, found.error, 0.0))
    result = judged(log_policy, np.zeros(problem.size))
    proven &= np.isfinite(bound)
    result.bound[:] = np.where(proven, bound, np.nan)
    result.certificate[proven], result.certificate[~proven] = Certificate.ERROR_BOUND, Certificate.CONDITIONS
    for b in range(problem.size):
        if not found.solved[b]:
            result.status[b], result.certificate[b] = Status.FAILED, Certificate.NONE
            result.message[b] = "the linear program of the scores was not solved"
        elif len(found.groups[b]) > 1:
            groups = sorted(sorted(problem.responses[list(group), b].tolist()) for group in found.groups[b])
            names = ", ".join(called(group, problem.names) for group in groups)
            how = "some of them without bound" if found.unbounded[b] else "within bounds"
            result.status[b] = Status.NOT_UNIQUE
            result.message[b] = (
                f"the loss is least for many policies: between responses {names} the log-ratios are open, {how}; the "
                "policy returned is the one whose scores are nearest to the reference's"
            )
    result.passed_on[:] = np.isneginf(log_policy).any(axis=0)  # no policy has these scores
    return result


@dataclass(frozen=True, eq=False)
class _Lines:
    """weight max_k (slope_k (z_winner - z_loser) + intercept_k) of each pair: (E, B), and (K, E, B) for the lines."""

    winner: Indices
    loser: Indices
    weight: Floats
    slope: Floats
    intercept: Floats

    @classmethod
    def of(cls, problem: Problem) -> _Lines:
        """All parts, one after the other. z are the scores; where x are logits, these less log pi_ref."""
        (winner, loser), shape = problem.edges.ends, problem.weight.shape
        most = max(len(part.psi.linear_pieces or ()) for part in problem.parts)
        slopes, intercepts = [], []
        for part in problem.parts:
            shift = part.shift
            if problem.link is None and not part.relative:
                shift = shift - part.slope * (problem.log_reference[winner] - problem.log_reference[loser])
            pieces = list(part.psi.linear_pieces or ())
            pieces += pieces[-1:] * (most - len(pieces))  # the same line twice is the same maximum
            slopes.append([np.broadcast_to(a * part.slope, shape) for a, _ in pieces])
            intercepts.append([np.broadcast_to(b - a * shift, shape) for a, b in pieces])
        count = len(problem.parts)
        return cls(
            np.tile(winner, count),
            np.tile(loser, count),
            np.concatenate([part.weight for part in problem.parts]),
            np.concatenate(slopes, axis=1),
            np.concatenate(intercepts, axis=1),
        )


def linear_optimum(problem: Problem) -> LinearOptimum:
    """Minimisers over the scores, problem by problem."""
    lines = _Lines.of(problem)
    scores = np.zeros((problem.n, problem.size))
    unbounded, solved = np.zeros(problem.size, dtype=bool), np.zeros(problem.size, dtype=bool)
    error = np.full(problem.size, np.inf)
    groups: list[list[tuple[int, ...]]] = []
    for b in range(problem.size):
        found, unit = _solve_one(problem.n, lines, b)
        solved[b] = found is not None
        if found is None:
            groups.append([tuple(range(problem.n))])
            continue
        z, reach, off = found
        fixed = reach + reach.T <= SAME
        _, labels = connected_components(fixed, directed=False)
        groups.append([tuple(np.flatnonzero(labels == label).tolist()) for label in range(labels.max() + 1)])
        unbounded[b] = np.isinf(reach).any()
        scores[:, b] = (z if len(groups[-1]) == 1 else _nearest(z, reach)) / unit
        error[b] = off / unit if len(groups[-1]) == 1 else np.inf
    return LinearOptimum(scores, error, groups, unbounded, solved)


def _solve_one(n: int, lines: _Lines, b: int) -> tuple[tuple[Floats, Floats, float] | None, float]:
    """One minimiser z (n,), reach (n, n), the largest value of z_i - z_j among all, and a number above the range of
    what z is off by, inf where none is proven; None where none exists.

    All times the second number, the steepest slope: in these units it is 1. Blocks of the comparison graph, which hang
    together by one response only, have programs of their own: a thread is small beside others, and not beside itself.
    """
    used = np.flatnonzero(lines.weight[:, b] > 0)
    winner, loser, weight = lines.winner[used], lines.loser[used], lines.weight[used, b]
    slope, intercept = lines.slope[:, used, b], lines.intercept[:, used, b]
    unit = float(np.abs(slope).max())
    z, reach, off = np.zeros(n), np.full((n, n), np.inf), 0.0
    np.fill_diagonal(reach, 0.0)
    for hinge, members in _blocks(winner, loser):
        own = np.isin(winner, members) & np.isin(loser, members)
        first, second = (np.searchsorted(members, x[own]) for x in (winner, loser))
        found = _solve_block(len(members), first, second, weight[own], slope[:, own] / unit, intercept[:, own])
        if found is None:
            return None, unit
        at = np.searchsorted(members, hinge)
        z[members] = z[hinge] + found[0] - found[0][at]
        reach[np.ix_(members, members)] = found[1]
        off += found[2]
    return (z, _along_paths(reach, z), off), unit


def _blocks(winner: Indices, loser: Indices) -> list[tuple[int, Indices]]:
    """The sorted members of each block of a connected graph, and which of them was in an earlier one (or is the first).

    Every edge is in one block, and two blocks share one response at most.
    """
    import networkx  # which takes long to load

    graph = networkx.Graph(zip(winner.tolist(), loser.tolist(), strict=True))
    left = [np.array(sorted(block)) for block in networkx.biconnected_components(graph)]
    found: list[tuple[int, Indices]] = []
    seen = {int(left[0][0])} if left else set()
    while left:
        place = next(k for k, block in enumerate(left) if seen & set(block.tolist()))
        block = left.pop(place)
        (shared,) = seen & set(block.tolist())
        found.append((shared, block))
        seen |= set(block.tolist())
    return found


def _solve_block(
    n: int, winner: Indices, loser: Indices, weight: Floats, slope: Floats, intercept: Floats
) -> tuple[Floats, Floats, float] | None:
    """As `_solve_one`, of one program: lines (K, E), and reach (n, n) along single edges only."""
    weight = weight * (WEIGHT / weight.sum())
    k, e = slope.shape
    edge, piece = np.divmod(np.arange(e * k), k)
    entries = np.concatenate([slope[piece, edge], -slope[piece, edge], -np.ones(e * k)])
    columns = np.concatenate([winner[edge], loser[edge], n + edge])
    bounds: list[tuple[float | None, float | None]] = [(0.0, 0.0), *[(None, None)] * (n + e - 1)]
    solution = linprog(
        np.concatenate([np.zeros(n), weight]),
        A_ub=coo_array((entries, (np.tile(np.arange(e * k), 3), columns)), shape=(e * k, n + e)).toarray(),
        b_ub=-intercept[piece, edge],
        bounds=bounds,
        method="highs-ds",
        options={"dual_feasibility_tolerance": 1e-10, "primal_feasibility_tolerance": 1e-10},
    )
    if not solution.success:
        return None
    z = np.asarray(solution.x)[:n].copy()
    multipliers = -np.asarray(solution.ineqlin.marginals).reshape(e, k).T
    rows = np.zeros((e, n))
    rows[np.arange(e), winner], rows[np.arange(e), loser] = 1.0, -1.0
    # scores are told up to a constant, and the first is 0
    z[1:], off = nearest(rows[:, 1:], slope, intercept, weight, np.zeros(n - 1), multipliers, z[1:])
    active = multipliers > NEGLIGIBLE
    left, right = _ranges(slope, intercept)
    reach = np.full((n, n), np.inf)  # z_i - z_j <= reach_ij
    np.minimum.at(reach, (winner, loser), np.where(active, right, np.inf).min(axis=0))
    np.minimum.at(reach, (loser, winner), -np.where(active, left, -np.inf).max(axis=0))
    np.fill_diagonal(reach, 0.0)
    return z, reach, 2 * float(off.max(initial=0.0))


def _along_paths(reach: Floats, z: Floats) -> Floats:
    """The largest differences that those of single edges allow, along paths."""
    # from z every length is at least 0 but for rounding, which must not make cycles of negative length
    lengths = np.maximum(reach - (z[:, None] - z), 0.0)
    for via in range(len(z)):
        lengths = np.minimum(lengths, lengths[:, via, None] + lengths[via])
    return lengths + (z[:, None] - z)


def _ranges(slope: Floats, intercept: Floats) -> tuple[Floats, Floats]:
    """The margins between which each line (K, E) is the largest of its pair's; crossed over where it never is."""
    left, right = np.full(slope.shape, -np.inf), np.full(slope.shape, np.inf)
    for a, b in itertools.permutations(range(len(slope)), 2):
        steeper, flatter = slope[a] > slope[b], slope[a] < slope[b]
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = (intercept[b] - intercept[a]) / (slope[a] - slope[b])
        left[a] = np.where(steeper, np.maximum(left[a], crossing), left[a])
        right[a] = np.where(flatter, np.minimum(right[a], crossing), right[a])
    return left, right


def _nearest(z: Floats, reach: Floats) -> Floats:
    """The solution of x_i - x_j <= reach_ij with the least sum of squares; z is any solution."""
    i, j = np.nonzero(np.isfinite(reach) & ~np.eye(len(z), dtype=bool))
    rows = np.zeros((len(i), len(z)))
    rows[np.arange(len(i)), i], rows[np.arange(len(i)), j] = 1.0, -1.0
    return least_norm(rows, reach[i, j], z, SAME)
