r"""Hinges beside a cross-entropy, as for SLiC: kinks are smoothed away, and the pairs that lie on one then found.

A pair part is weight max(0, K - d), d = x_w - x_l the log-ratio and K its kink. For a width w, w softplus((K - d)/w)
tends to it as w falls. The smoothed objective is one of logistic losses, with self-concordance max(1, 1/w), which
Newton's method solves, from wide to narrow, each time from the last solution. In the end a pair is beyond its kink,
before it, or on it. Log-ratios of pairs on the kink are K exactly, which ties responses into groups; the groups' masses
follow from the other pairs, whose slopes are known.

**Error bound** [ours]. Let the cross-entropy be s CE(t, pi), s > 0 and t a policy. With a multiplier a_e in [0,
weight_e] for every pair, p = t + (1/s) sum_e a_e (e_winner - e_loser), and H the entropy, F(x) >= D(a) for all x, where

    D(a) = sum_e a_e K_e + s H(p)      (p >= 0),

because max(0, y) >= (a/weight) y. F is s times log-sum-exp plus what is convex, so that F(x) - min F >= s KL(pi* || pi)
>= s |pi - pi*|^2 / 2, and the gap F(x) - D(a), rounding included, bounds the 1-norm error of the policy. Rounding of
1e-16 in the gap is 1e-8 in the bound: `_on_the_kinks` leaves out what is zero exactly.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.special import expit, xlogy

from ..._types import Floats, Indices, Mask
from ...losses.psi import Hinge, Logistic
from ..certificate import UNIT
from ..derivatives import log_softmax
from ..extremes import lstsq
from ..found import Found, judged
from ..parts import Merged, PairPart
from ..problem import Problem
from .newton import newton, start

NAME = "newton"
NARROWEST = 1e-9
SHRINK = 0.2
ON_THE_KINK = 1e-6


@dataclass(frozen=True, eq=False)
class Hinges(Problem):
    """A problem whose one pair part is a hinge: ``height`` (E, B) times max(0, ``kink`` - d); smoothed at ``width``."""

    kink: Floats = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))
    height: Floats = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))
    width: float = 1.0
    ARRAYS: ClassVar[tuple[str, ...]] = (*Problem.ARRAYS, "kink", "height")

    @cached_property
    def parts(self) -> tuple[PairPart, ...]:
        """The smoothed hinge."""
        return (PairPart(1 / self.width, False, Logistic(), self.kink / self.width, self.width * self.height, 0),)

    @cached_property
    def merged(self) -> tuple[Merged, ...]:
        return ()

    @cached_property
    def concordance(self) -> Any:
        return max(1.0, 1 / self.width)

    @property
    def total(self) -> Floats:
        """s, (B,)."""
        assert self.target is not None
        return np.asarray(self.target.sum(axis=0))

    def log_ratios(self, x: Floats) -> Floats:
        """d of each edge, (E, B)."""
        return np.asarray(x[self.edges.winner] - x[self.edges.loser])

    def flow(self, multipliers: Floats) -> Floats:
        """sum_e a_e (e_winner - e_loser), (n, B)."""
        return np.asarray(self.edges.to_winner @ multipliers - self.edges.to_loser @ multipliers)


def accepts(problem: Problem) -> bool:
    """One hinge of log-ratios that falls, and a cross-entropy of which no weight is zero."""
    if not problem.only_pairs or problem.merged or len(problem.parts) != 1:
        return False
    (part,) = problem.parts
    falls = type(part.psi) is Hinge and bool(np.all(np.asarray(part.slope) > 0))
    return falls and problem.facts.convex and problem.target is not None and bool((problem.target > 0).all())


def solve(problem: Problem) -> Found:
    """Smoothed, then sharpened; with a proven bound."""
    (part,) = problem.parts
    fields = {f.name: getattr(problem, f.name) for f in dataclasses.fields(Problem)}
    kink = (part.psi.at + part.shift) / part.slope + np.zeros_like(part.weight)  # type: ignore[attr-defined]
    if part.relative:
        kink = kink + (problem.log_reference[problem.edges.winner] - problem.log_reference[problem.edges.loser])
    x, bound, steps = smoothed_optimum(Hinges(**fields, kink=kink, height=part.weight * part.slope), start(problem))
    return judged(log_softmax(x), bound, steps, np.zeros(problem.size, dtype=bool))


def smoothed_optimum(problem: Hinges, x: Floats) -> tuple[Floats, Floats, Indices]:
    """Logits (n, B), proven bounds on the policies' 1-norm errors (B,), nan where none is, and Newton steps (B,)."""
    steps, width = np.zeros(problem.size, dtype=np.intp), 1.0
    while True:
        x, taken, _ = newton(dataclasses.replace(problem, width=width), x)
        steps = steps + taken
        if width <= NARROWEST:
            break
        width = max(width * SHRINK, NARROWEST)
    multipliers = problem.height * expit((problem.kink - problem.log_ratios(x)) / width)
    bound = _from_gap(problem, x, multipliers)
    for b in range(problem.size):
        one = problem.take(np.array([b]))
        assert isinstance(one, Hinges)
        if (sharp := _sharpen(one, x[:, b], multipliers[:, b])) is not None:
            better = np.fmin(_from_gap(one, sharp.x[:, None], sharp.multipliers[:, None])[0], _on_the_kinks(one, sharp))
            if better <= bound[b] or not np.isfinite(bound[b]):
                x[:, b], bound[b] = sharp.x, better
    return x, bound * (1 + 1e-9), steps


@dataclass(frozen=True, eq=False)
class _Sharp:
    """Logits (n,) and multipliers (E,) where the ``tied`` pairs (E,) are on their kinks, and logits of that (n,) within
    groups of responses; exact: whether real numbers can have all these pairs on their kinks."""

    x: Floats
    multipliers: Floats
    tied: Mask
    height: Floats
    exact: bool


def _from_gap(problem: Hinges, x: Floats, multipliers: Floats) -> Floats:
    """Bounds on the policies' 1-norm errors, (B,); nan where none is proven."""
    return np.sqrt(2 * _gap(problem, x, multipliers) / problem.total)


def _on_the_kinks(problem: Hinges, sharp: _Sharp) -> float:
    """A bound on the 1-norm error that does not take the root of what rounding makes of the gap; nan if none is proven.

    Next to the policy is one that has the tied pairs on their kinks exactly. For that one the pairs add nothing to the
    gap, as each other multiplier is 0 before the kink and the weight beyond it: it is s KL(p || pi), and so at most
    s sum (p - pi)^2 / pi.
    """
    assert problem.target is not None
    (winner, loser), a, total = problem.edges.ends, sharp.multipliers, problem.total[0]
    policy = np.exp(log_softmax(sharp.x[:, None])[:, 0])
    goal = problem.target[:, 0] / total
    excess = problem.kink[:, 0] - (sharp.x[winner] - sharp.x[loser])
    size = np.abs(sharp.x[winner]) + np.abs(sharp.x[loser]) + np.abs(problem.kink[:, 0])
    clear = sharp.tied | (problem.height[:, 0] == 0) | (np.abs(excess) > 64 * UNIT * len(policy) * size)
    moved = (problem.edges.to_winner @ a + problem.edges.to_loser @ a) / total
    p = goal + problem.flow(a[:, None])[:, 0] / total
    rounding = 8 * UNIT * len(policy) * (goal + moved + policy * (1 + np.abs(sharp.height).max()))
    if not (sharp.exact and clear.all() and (p > rounding).all()):
        return np.nan
    off = np.abs(p - policy) + rounding
    return float(np.sqrt(2 * (off**2 / policy).sum()) + rounding.sum())


def _gap(problem: Hinges, x: Floats, multipliers: Floats) -> Floats:
    """F(x) - D(a) and what rounding can add to it, (B,); nan where p leaves the simplex."""
    assert problem.target is not None
    total, kink = problem.total, problem.kink
    goal = problem.target / total
    log_policy = log_softmax(x)
    policy = goal + problem.flow(multipliers) / total
    policy = np.where((policy > 0).all(axis=0), policy, np.nan)
    # pair by pair and response by response, so that what is equal cancels before it is summed
    excess = kink - problem.log_ratios(x)
    from_pairs = problem.height * np.maximum(excess, 0.0) - multipliers * excess
    from_policy = xlogy(policy, policy) - policy * log_policy
    size = np.abs(problem.log_reference) + np.abs(log_policy) + np.abs(x) + len(x) + np.abs(kink).max(axis=0, initial=0)
    rounding = (problem.height * (np.abs(kink) + np.abs(problem.log_ratios(x)))).sum(axis=0)
    rounding = 8 * UNIT * (rounding + total * (policy * size + goal * size).sum(axis=0))
    return np.maximum(from_pairs.sum(axis=0) + total * from_policy.sum(axis=0), 0.0) + rounding


def _sharpen(problem: Hinges, x: Floats, multipliers: Floats) -> _Sharp | None:
    """If the pairs near their kinks are on them, as far as these agree; None without masses.

    Whether that is better is for the bounds to tell.
    """
    n, (winner, loser), weight = problem.n, problem.edges.ends, problem.height[:, 0]
    kink, excess = problem.kink[:, 0], problem.kink[:, 0] - (x[winner] - x[loser])
    tied = (np.abs(excess) <= ON_THE_KINK * np.maximum(1.0, np.abs(kink))) & (weight > 0)
    multipliers = np.where(tied, multipliers, np.where(excess > 0, weight, 0.0))
    group, count, height, exact = _levels(n, winner[tied], loser[tied], kink[tied])
    assert problem.target is not None
    total = problem.total[0]
    pushed = problem.target[:, 0] / total + problem.flow(np.where(tied, 0.0, multipliers)[:, None])[:, 0] / total
    mass = np.bincount(group, weights=pushed, minlength=count)
    if (mass <= 0).any():
        return None
    top = np.full(count, -np.inf)
    np.maximum.at(top, group, height)
    odds = np.exp(height - top[group])
    policy = odds * (mass / np.bincount(group, weights=odds, minlength=count))[group]
    if tied.any():  # multipliers on the kinks must carry what is left
        incidence = np.zeros((n, tied.sum()))
        incidence[winner[tied], np.arange(tied.sum())] = 1.0
        incidence[loser[tied], np.arange(tied.sum())] = -1.0
        missing = total * (policy - pushed) - incidence @ multipliers[tied]
        mended = multipliers[tied] + lstsq(incidence, missing, rcond=None)
        multipliers[tied] = np.clip(mended, 0.0, weight[tied])
    return _Sharp(np.log(policy), multipliers, tied, height, exact)


def _levels(n: int, winner: Indices, loser: Indices, kink: Floats) -> tuple[NDArray[np.integer], int, Floats, bool]:
    """Groups of responses that pairs on their kinks tie together, their number, logits within each group, and whether
    all pairs have exactly these."""
    graph = coo_array((np.ones(len(winner)), (winner, loser)), shape=(n, n)).tocsr()
    drop = {(i, j): Fraction(k) for i, j, k in zip(winner, loser, kink, strict=True)}
    both = {(j, i): -k for (i, j), k in drop.items() if (j, i) not in drop} | drop
    count, group = connected_components(graph, directed=False)
    height = [Fraction()] * n
    for g in range(count):
        order, before = breadth_first_order(graph, np.flatnonzero(group == g)[0], directed=False)
        for i in order[1:]:
            height[i] = height[before[i]] + both[i, before[i]]
    exact = all(height[i] - height[j] == k for (i, j), k in drop.items())
    return group, count, np.array([float(h) for h in height]), exact
