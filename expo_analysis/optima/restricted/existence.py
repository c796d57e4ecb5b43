r"""Whether a convex loss has a minimiser over log-linear policies: linear programs over w.

Along a step v of w a convex loss rises, in the end, by its recession function

    rec(v) = sum over prompts x of share_x [ sum_pairs up_ij (d_i - d_j)+ + down_ij (d_j - d_i)+
                                             + sum_j T_j (max d - d_j) ],

d = F_x v, up and down the slopes of a pair's loss far out, T_j the weights of -log pi_j. No minimiser exists if some
v with rec(v) <= 0 lowers the loss for ever. For slopes that are not negative rec(v) = 0 is a system of linear
inequalities, a_k'v <= 0, and v lowers a loss that has no flat end for ever if one of them is strict: restricted data
are separable. One program, max sum_k min(1, -a_k'v), decides, and its solution makes as many strict as can be. Of all
such v, the one of least norm with a_k'v <= -1 is told: the direction of the largest margin, in which gradient descent
on logistic losses ends (Soudry et al. 2018). Where slopes are negative (robust DPO) further programs look for v with
rec(v) < 0. [ours; for one prompt and all policies it is strong connection of the comparison graph]

**The limit.** As w runs along v, all mass of a prompt goes to the responses with the largest d; what v leaves open is
told by the same loss without the pairs that v has separated, which is solved in turn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..._types import Floats, Indices, Mask
from ...losses.facts import is_likelihood, of_log_ratio
from ...losses.statistics import Shortfall
from ..laplacian import pairs
from ..least_distance import least_norm
from ..problem import Problem
from .cells import PairCells
from .family import Family, roots_of
from .programs import SHARP, program

BURIED = 2000.0
"""By how much logits are lowered of responses that vanish: enough for no float64 to see their mass."""

FAR_STEEPER = 1e3
"""What infinite slopes count for in programs, times the largest that is finite."""


@dataclass(frozen=True, eq=False)
class Runaway:
    """A step in z along which the loss falls for ever. unbounded: whether it has no lower bound there."""

    step: Floats
    unbounded: bool


@dataclass(frozen=True, eq=False)
class Slopes:
    """rec(v) of one problem: the sum over groups of the largest cost_k a_k'v, a_k the rows (K, rank).

    floored: whether a group's share is at least 0. strict: whether the loss bends for ever along v with a_k'v < 0, so
    that it falls for ever if that costs nothing; joint: rows of one number do so only together.
    """

    rows: Floats
    costs: Floats
    floored: Mask
    strict: Mask
    group: Indices
    joint: Indices


def runaway(family: Family) -> Runaway | None:
    """Of one problem: a step along which the loss falls for ever, None where there is none.

    Raises:
        UnknownSlopes: where slopes far out are not known, or the loss is not convex.
    """
    if family.decay[0] > 0 or family.rank[0] == 0:
        return None
    slopes = _slopes(family)
    if not (slopes.costs != 0).any():
        return None
    scale = np.abs(slopes.rows).max(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    scaled = dataclasses.replace(slopes, rows=slopes.rows / scale)
    return _signed(scaled, scale) if (slopes.costs < 0).any() else _separation(scaled, scale)


class UnknownSlopes(ValueError):
    """Nothing is known of a loss far out."""


def _separation(slopes: Slopes, scale: Floats) -> Runaway | None:
    """For costs that are not negative: of the steps that make all strict that can be, the one of least norm."""
    kept = slopes.costs > 0
    rows, strict = slopes.rows[kept], slopes.strict[kept]
    _, joint = np.unique(slopes.joint[kept], return_inverse=True)
    (count, d), slacks = rows.shape, int(joint.max()) + 1
    upper = np.hstack([rows, np.eye(slacks)[joint]])  # slack <= -a_k'v
    bounds = [(None, None)] * d + [(0.0, 1.0)] * slacks
    found = program(np.r_[np.zeros(d), -np.ones(slacks)], upper, np.zeros(count), bounds)
    apart = found.success and found.x[d:][joint] > 0.5
    if not found.success or not apart[strict].any():
        return None
    step = found.x[:d]
    off = SHARP * max(float(np.abs(step).max()), 1.0)
    if off > 0.1 or not (rows @ step <= off).all():
        return None
    return Runaway(least_norm(rows * scale, np.where(apart, -1.0, 0.0), step / scale, 1e2 * SHARP), False)


def _signed(slopes: Slopes, scale: Floats) -> Runaway | None:
    """For costs of both signs: the lowest rec(v) over the faces of a box."""
    count, d = slopes.rows.shape
    groups = int(slopes.group.max()) + 1
    upper = np.hstack([slopes.costs[:, None] * slopes.rows, -np.eye(groups)[slopes.group]])
    goal = np.r_[np.zeros(d), np.ones(groups)]
    floored = np.isin(np.arange(groups), slopes.group[slopes.floored])
    shares: list[Any] = [(0.0 if at_least else None, None) for at_least in floored]
    lowest, step = np.inf, np.zeros(d)
    for k in range(d):
        for end in (-1.0, 1.0):
            bounds: list[Any] = [(-1.0, 1.0)] * d + shares
            bounds[k] = (end, end)
            found = program(goal, upper, np.zeros(count), bounds)
            if found.success and found.fun < lowest:
                lowest, step = float(found.fun), found.x[:d]
    off = SHARP * float(np.abs(slopes.costs).max())
    bends = slopes.strict & (slopes.rows @ step < -SHARP)
    return Runaway(step / scale, lowest < -off) if lowest < -off or (lowest <= off and bends.any()) else None


def _slopes(family: Family) -> Slopes:
    problem, directions = family.cells.problem, family.directions[0, :, :, : family.rank[0]]
    if problem.divergence is not None or problem.is_formula:
        raise UnknownSlopes
    high, low = pairs(problem.n)
    (up, down), (up_bends, down_bends) = _pair_costs(problem)
    blocks: list[tuple[Floats, Floats, Mask, Mask, Indices, Indices]] = []
    groups, count = 0, 0
    for x in np.flatnonzero(family.shares[0] > 0):
        share, step = family.shares[0, x], directions[x, high] - directions[x, low]
        for costs, sign, back in ((up, 1.0, down_bends), (down, -1.0, up_bends)):
            each = np.arange(len(step))
            blocks.append((sign * step, share * costs[:, x], each < 0, back[:, x], groups + each, count + each))
            count += len(step)
        groups += len(step)
        for rows, cost, together in _of_normaliser(problem, directions[x], int(x)):
            every, own = np.full(len(rows), groups), count + (0 if together else 1) * np.arange(len(rows))
            blocks.append((rows, share * cost + 0.0 * every, every >= 0, every >= 0, every, own))
            groups, count = groups + 1, count + len(rows)
    rows, costs, floored, strict, group, joint = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    # a side that costs nothing stays beside one that does: their largest is what counts
    seen = np.bincount(group, weights=np.abs(costs)) > 0
    used = ((np.abs(rows).max(axis=1) > 0) | _repeated(joint)) & seen[group]
    _, group = np.unique(group[used], return_inverse=True)
    return Slopes(rows[used], costs[used], floored[used], strict[used], group, joint[used])


def _repeated(numbers: Indices) -> Mask:
    """Which numbers are there more than once."""
    _, back, times = np.unique(numbers, return_inverse=True, return_counts=True)
    return np.asarray(times[back] > 1)


def _of_normaliser(problem: Problem, directions: Floats, x: int) -> Iterator[tuple[Floats, float, bool]]:
    """Rows whose largest costs this much, as a step raises the log-normaliser over what has weight; prompt x.

    And whether the loss falls for ever only where all rows do: a margin is held back by what is raised most.
    """
    if problem.target is not None:
        for j in np.flatnonzero(problem.target[:, x] > 0):
            yield np.delete(directions, j, axis=0) - directions[j], float(problem.target[j, x]), False
    for _, _, _, statistic in problem.facts.bound:
        lost = sum(c for c, atom in statistic.parts if isinstance(atom, Shortfall))
        if not lost:
            continue
        plain = {atom.slot: c for c, atom in statistic.parts if atom.plain}
        for winner, loser, weight in zip(*problem.edges.ends, problem.weight[:, x], strict=True):
            if weight > 0:  # the margin must not fall, whichever response is raised most
                own = plain.get("w", 0.0) * directions[winner] + plain.get("l", 0.0) * directions[loser]
                yield -(own + lost * (directions[winner] - directions)), float(weight), True


def _pair_costs(problem: Problem) -> tuple[tuple[Floats, Floats], tuple[Mask, Mask]]:
    """Slopes far out as the high end of a pair is raised, and lowered, (pairs, P) each; and whether it bends for ever.

    A pair whose slope there is 0 has a flat end if it does not bend, and falls for ever otherwise.
    """
    edges, size = problem.edges, problem.weight.shape
    raised, lowered, rising, sinking = (np.zeros(size) for _ in range(4))
    for psi, weight, scale, statistic in problem.facts.bound:
        step = of_log_ratio(statistic)
        if step is None:
            shortfall = any(isinstance(atom, Shortfall) for _, atom in statistic.parts) and psi.decreasing
            if not (shortfall or is_likelihood(psi, statistic)):
                raise UnknownSlopes
            continue
        if psi.slopes is None or not psi.convex:
            raise UnknownSlopes
        steep = np.asarray(scale * step, dtype=np.float64)
        left, right = (np.asarray(end, dtype=np.float64) for end in psi.slopes)
        own, forward = problem.weight * weight * np.abs(steep), steep >= 0
        for total, far, back in ((raised, right, -left), (lowered, -left, right)):
            with np.errstate(invalid="ignore"):
                total += np.where(own > 0, own * np.where(forward, far, back), 0.0)
        low, high = (rate != np.inf for rate in psi.decay)
        rising, sinking = rising + own * np.where(forward, high, low), sinking + own * np.where(forward, low, high)
    ends = edges.upward @ raised + edges.downward @ lowered, edges.upward @ lowered + edges.downward @ raised
    known = np.abs(np.concatenate([*ends] + ([] if problem.target is None else [problem.target])))
    finite = known[(known > 0) & (known < np.inf)]
    most = FAR_STEEPER * (finite.max() if finite.size else 1.0)
    bends = edges.upward @ rising + edges.downward @ sinking, edges.upward @ sinking + edges.downward @ rising
    return (np.minimum(ends[0], most), np.minimum(ends[1], most)), (bends[0] > 0, bends[1] > 0)


def limit(family: Family, step: Floats) -> tuple[Family, Mask]:
    """What v = ``step`` in z leaves open, as a family, and the responses that keep mass, (n, C)."""
    problem, directions = family.cells.problem, family.directions[0, :, :, : family.rank[0]]
    raised = (directions @ step).T  # (n, P)
    near = SHARP * 10 * np.abs(directions).max() * max(np.abs(step).max(), 1e-300)
    kept = raised >= raised.max(axis=0) - near
    level = np.round((raised.max(axis=0) - raised) / near) * near
    winner, loser = problem.edges.ends
    apart = np.abs(raised[winner] - raised[loser]) > near
    weight = np.where(apart, 0.0, problem.weight)
    # what falls, falls out of the normaliser; equal steps keep their log-ratios
    gap = level[level > near].min(initial=1.0)
    sunk = family.base - np.where(level > near, BURIED * level / gap, 0.0)
    cells = PairCells(dataclasses.replace(problem, weight=weight))
    labels = _labels(problem, weight, kept if family.cells.coupled else np.zeros_like(kept))
    rest = Family.of(cells, family.features, sunk, family.shares, family.decay, roots_of(labels))
    return rest, kept


def _labels(problem: Problem, weight: Floats, together: Mask) -> Indices:
    """Components of the pairs that are left, and of what a normaliser holds ``together``, (n, C)."""
    n = problem.n
    found = np.empty((n, weight.shape[1]), dtype=np.intp)
    for x in range(weight.shape[1]):
        seen, held = weight[:, x] > 0, np.flatnonzero(together[:, x])
        ends = [
            np.concatenate([end[seen], other])
            for end, other in zip(problem.edges.ends, (held[1:], held[:-1]), strict=True)
        ]
        graph = coo_array((np.ones(len(ends[0])), tuple(ends)), shape=(n, n))
        found[:, x] = connected_components(graph, directed=False)[1]
    return found
