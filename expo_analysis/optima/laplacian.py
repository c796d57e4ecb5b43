r"""Linear systems with zero row sums, solved by eliminating vertices: no subtraction, hence no cancellation.

An objective that does not change when all logits shift together has a Hessian H with H 1 = 0. Such a matrix is given
by its edge weights W_ij = -H_ij alone, and its diagonal is their sum. Gaussian elimination that takes each pivot as a
sum of weights (Grassmann, Taksar and Heyman 1985) never subtracts when the weights are non-negative, so solutions
and effective resistances have high relative accuracy however ill-conditioned H is. Weights of both signs (an indefinite
Hessian) are allowed too; then the signs of the pivots tell whether H is positive definite across the shift.

Where the package was built with a C compiler, `expo_analysis.optima.kernel` does the same for up to some hundred
vertices, several times as fast.

The batch is the last axis: right-hand sides (n, B), and weights (n(n-1)/2, B), one row for each unordered pair
(i, j), i > j, in the order of `pairs`; so every step is vectorised over problems.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array

from .._types import Floats, Indices, Mask
from . import kernel

ONE_BY_ONE, BLOCK = 100, 32
"""From so many vertices on each problem is eliminated alone, so many vertices at a time."""


@lru_cache
def pairs(n: int) -> tuple[Indices, Indices]:
    """The pairs i > j of n vertices, (1, 0), (2, 0), (2, 1), (3, 0) ...: those of the first k vertices come first."""
    high, low = np.tril_indices(n, -1)
    return high, low


@lru_cache
def ends(n: int) -> tuple[csr_array, csr_array]:
    """Sums over the `pairs` that have a vertex as their high end, and as their low end; both (n, n(n-1)/2)."""
    count = n * (n - 1) // 2
    high, low = (csr_array((np.ones(count), (end, np.arange(count))), shape=(n, count)) for end in pairs(n))
    return high, low


@lru_cache
def incidence(n: int) -> csr_array:
    """(n, n(n-1)/2): +1 at the high and -1 at the low end of each of the `pairs`."""
    to_high, to_low = ends(n)
    return to_high - to_low


@lru_cache
def both_ends(n: int) -> csr_array:
    """`incidence` without its signs."""
    return abs(incidence(n))


@dataclass(frozen=True, eq=False)
class Elimination:
    """The vertices n-1, ..., 1 eliminated in turn; vertex 0 is the ground, where the solution is 0.

    ratios, shape (n(n-1)/2, B): by `pairs`, the weight from the high end, when its turn comes, to the low end, divided
    by the pivot. pivots, shape (n, B): pivots[0] is unused. A pivot of zero, which marks a vertex that is disconnected
    from what remains and becomes the ground of its own component, is replaced by infinity.
    """

    ratios: Floats
    pivots: Floats

    @property
    def positive_definite(self) -> Mask:
        """Whether v'Hv > 0 for every v that is not constant, shape (B,)."""
        pivots = self.pivots[1:]
        return np.asarray((pivots > 0).all(axis=0) & (pivots < np.inf).all(axis=0))

    def of(self, k: int) -> Floats:
        """The ratios of k and the k vertices that remain, (k, B)."""
        start = k * (k - 1) // 2
        return self.ratios[start : start + k]

    def solve(self, rhs: Floats) -> Floats:
        """x with H x = rhs and x[0] = 0, for rhs (n, B) that sums to zero over each component."""
        if kernel.LOADED:
            return kernel.solve(self.ratios, self.pivots, rhs)
        x = rhs.copy()
        for k in range(len(self.pivots) - 1, 0, -1):
            x[:k] += self.of(k) * x[k]
        x[0] = 0.0
        x /= self.pivots
        for k in range(1, len(self.pivots)):
            x[k] += (self.of(k) * x[:k]).sum(axis=0)
        return x


def eliminate(weights: Floats) -> Elimination:
    """Eliminate the Laplacian of ``weights`` (n(n-1)/2, B)."""
    n, size = (1 + math.isqrt(1 + 8 * len(weights))) // 2, weights.shape[1]
    if kernel.LOADED and n <= kernel.LARGEST:
        return Elimination(*kernel.eliminate(n, weights))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if n < ONE_BY_ONE:
            return _eliminate_together(n, weights)
        ratios, pivots = np.empty_like(weights), np.ones((n, size))
        for b in range(size):
            ratios[:, b], pivots[:, b] = _eliminate_one(n, weights[:, b])
    return Elimination(ratios, pivots)


def _eliminate_together(n: int, weights: Floats) -> Elimination:
    """All problems at a time: with few vertices, what takes time is the steps of Python."""
    high, low = pairs(n)
    w = weights.copy()
    pivots = np.ones((n, w.shape[1]))
    for k in range(n - 1, 0, -1):
        rest = k * (k - 1) // 2  # the pairs among the k vertices that remain
        row = w[rest : rest + k]
        pivot = row.sum(axis=0, out=pivots[k])
        zero = pivot == 0
        if zero.any():
            pivot[zero] = np.inf
        ratio = row / pivot  # no inverse: a single neighbour's ratio is exactly 1
        w[:rest] += ratio[high[:rest]] * row[low[:rest]]
        row[:] = ratio
    return Elimination(w, pivots)


def _eliminate_one(n: int, weights: Floats) -> tuple[Floats, Floats]:
    """Ratios (n(n-1)/2,) and pivots (n,) of one problem, of ``weights`` (n(n-1)/2,).

    What `BLOCK` vertices leave to the rest is one product of matrices, whose terms are added as singly: none is
    subtracted.
    """
    ratios, rows, pivots = np.zeros((n, n)), np.zeros((n, n)), np.ones(n)
    rows[pairs(n)] = weights
    for end in range(n, 1, -BLOCK):
        start = max(end - BLOCK, 1)
        for k in range(end - 1, start - 1, -1):
            rows[k, :k] += ratios[k + 1 : end, k] @ rows[k + 1 : end, :k]
            pivots[k] = rows[k, :k].sum() or np.inf
            ratios[k, :k] = rows[k, :k] / pivots[k]
        rows[:start, :start] += ratios[start:end, :start].T @ rows[start:end, :start]
    return ratios[pairs(n)], pivots


def resistances(elimination: Elimination) -> Floats:
    """Effective resistances R_ij = (e_i - e_j)' H^+ (e_i - e_j), shape (n, n, B), for non-negative weights.

    Infinite between components.
    """
    n, size = elimination.pivots.shape
    found = np.zeros((n, n, size))
    high, low = pairs(n)
    found[high, low] = found[low, high] = resistances_of_pairs(elimination)
    return found


def resistances_of_pairs(elimination: Elimination) -> Floats:
    """`resistances` by `pairs`, (n(n-1)/2, B).

    Vertices come back in the reverse order of their elimination, which did not change the resistances among the rest.
    A current into k spreads over its neighbours by its ratios r, so
        R_kj = 1/pivot_k + sum_i r_i R_ij - sum_il r_i r_l R_il / 2.
    The last sum is at most k/pivot_k, as R_il <= 1/w_ki + 1/w_kl, and R_kj is at least 1/pivot_k: what cancels is no
    larger than k times the result, so that its relative accuracy stays high.
    """
    n, size = elimination.pivots.shape
    if kernel.LOADED and n <= kernel.LARGEST:
        found = kernel.resistances(elimination.ratios, elimination.pivots)
    else:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if n < ONE_BY_ONE:
                found = _resistances_together(elimination)
            else:
                found = np.stack([_resistances_of_one(elimination, b) for b in range(size)], axis=1)
    connected = elimination.positive_definite
    if not connected.all():
        found[:, ~connected] = np.inf
    return found


def _resistances_together(elimination: Elimination) -> Floats:
    n, size = elimination.pivots.shape
    resistance = np.zeros((n, n, size))
    for k in range(1, n):
        ratios = elimination.of(k)
        spread = np.einsum("ijb,jb->ib", resistance[:k, :k], ratios)
        own = 1 / elimination.pivots[k] - np.einsum("ib,ib->b", ratios, spread) / 2
        resistance[k, :k] = resistance[:k, k] = own + spread
    return resistance[pairs(n)]


def _resistances_of_one(elimination: Elimination, b: int) -> Floats:
    """(n(n-1)/2,): `BLOCK` vertices come back at a time; the sums over all that were there before are one product."""
    n = len(elimination.pivots)
    ratios, resistance = np.zeros((n, n)), np.zeros((n, n))
    ratios[pairs(n)] = elimination.ratios[:, b]
    for start in range(1, n, BLOCK):
        end = min(start + BLOCK, n)
        from_before = ratios[start:end, :start] @ resistance[:start, :start]
        for k in range(start, end):
            row = ratios[k, :k]
            spread = row[start:] @ resistance[start:k, :k]
            spread[:start] += from_before[k - start]
            spread[start:] += resistance[start:k, :start] @ row[:start]
            resistance[k, :k] = 1 / elimination.pivots[k, b] - row @ spread / 2 + spread
            resistance[:k, k] = resistance[k, :k]
    return resistance[pairs(n)]
