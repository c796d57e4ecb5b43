r"""Problems over log-linear policies: many prompts, one w.

A family has B problems, each of P prompts. Problem b minimises over w in R^d

    F(w) = sum_x share_x J_x(theta_x) + (decay/2) |w|^2,     theta_x(y) = base_x(y) + features_x(y, .) w,

J_x the objective on prompt x as a function of the logits. Prompts are `Cells`: cell b P + x is prompt x of problem b.

**Directions that nothing sees.** Without decay a direction of w may change no policy that the data see. w is then
sought in the complement of these, w = basis z, where it has the least norm, and z has ``rank`` coordinates. Columns
of features are taken to be dependent where they are to rounding.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from ..._types import Floats, Indices, Mask
from ..certificate import UNIT
from ..derivatives import Expansion
from ..laplacian import pairs
from .cells import Cells

DEPENDENT = 64 * UNIT
"""Features are dependent where a singular value, of columns scaled to one, is below this share of the largest."""


@dataclass(frozen=True, eq=False)
class Family:
    """Problems over log-linear policies; see the module's docstring.

    cells: C = B P of them. features: by problem, prompt, response (in the cells' order) and parameter. base: logits at
    w = 0. shares: of prompts; they sum to one. roots: a response of the component that each belongs to, where cells see
    log-ratios within components only.
    """

    cells: Any
    features: Annotated[Floats, "batch prompts n d"]
    base: Annotated[Floats, "n cells"]
    shares: Annotated[Floats, "batch prompts"]
    decay: Annotated[Floats, "batch"]
    basis: Annotated[Floats, "batch d d"]
    rank: Annotated[Indices, "batch"]

    @classmethod
    def of(cls, cells: Cells, features: Floats, base: Floats, shares: Floats, decay: Floats, roots: Indices) -> Family:
        """With the basis of what the cells see. roots: (n, C)."""
        batch, prompts, n, d = features.shape
        own = roots.T.reshape(batch, prompts, n, 1)
        seen = features - np.take_along_axis(features, own, axis=2)
        seen = np.where(shares[:, :, None, None] > 0, seen, 0.0).reshape(batch, prompts * n, d)
        basis, rank = _bases(seen)
        held = decay > 0
        basis[held], rank[held] = np.eye(d), d
        return cls(cells, features, base, shares, decay, basis, rank)

    @property
    def size(self) -> int:
        return len(self.features)

    @property
    def d(self) -> int:
        return self.features.shape[-1]

    @property
    def dead(self) -> Mask:
        """The coordinates of z that are none, (B, d)."""
        return np.arange(self.d) >= self.rank[:, None]

    @cached_property
    def directions(self) -> Floats:
        """What a step in z does to logits, (B, P, n, d)."""
        if (self.basis == np.eye(self.d)).all():
            return self.features
        return np.einsum("bpnd,bde->bpne", self.features, self.basis, optimize=True)

    def take(self, rows: Any) -> Family:
        """The problems at these positions (indices or a mask)."""
        rows = np.arange(self.size)[rows]
        prompts = self.features.shape[1]
        columns = (rows[:, None] * prompts + np.arange(prompts)).reshape(-1)
        parts = (x[rows] for x in (self.shares, self.decay, self.basis, self.rank))
        taken = Family(self.cells.take(columns), self.features[rows], self.base[:, columns], *parts)
        if "directions" in vars(self):
            vars(taken)["directions"] = self.directions[rows]
        return taken

    def replace(self, **changes: Any) -> Family:
        """The same with other fields."""
        return dataclasses.replace(self, **changes)

    def weights(self, z: Floats) -> Floats:
        """w (B, d) from coordinates z."""
        return np.einsum("bde,be->bd", self.basis, z)

    def logits(self, w: Floats) -> Floats:
        """theta, (n, C), from w (B, d)."""
        return self.base + self._in_cells(np.einsum("bpnd,bd->bpn", self.features, w))

    def _in_cells(self, values: Floats) -> Floats:
        """(B, P, ...) as (..., C)."""
        return np.moveaxis(values.reshape(-1, *values.shape[2:]), 0, -1)

    def by_problem(self, values: NDArray[Any]) -> NDArray[Any]:
        """(..., C) as (B, P, ...)."""
        return np.moveaxis(values, -1, 0).reshape(*self.shares.shape, *values.shape[:-1])

    def value(self, w: Floats, x: Floats | None = None) -> Floats:
        """F, (B,), at w (B, d)."""
        own = self.by_problem(self.cells.value(self.logits(w) if x is None else x))
        with np.errstate(invalid="ignore"):
            total = np.where(self.shares > 0, self.shares * own, 0.0).sum(axis=1)
        return np.asarray(total + self.decay / 2 * (w**2).sum(axis=1))

    def gradient(self, w: Floats, in_logits: Floats) -> Floats:
        """In z, (B, d), from that in the logits, (n, C)."""
        weighted = self.by_problem(in_logits) * self.shares[..., None]
        own = np.einsum("bpnd,bpn->bd", self.directions, weighted)
        return np.asarray(own + np.einsum("bde,bd->be", self.basis, self.decay[:, None] * w))

    def hessian(self, local: Expansion) -> Floats:
        """In z, (B, d, d); the identity in what is no coordinate."""
        weighted = self.by_problem(local.curvature) * self.shares[..., None]
        rows = self.pair_directions
        found = np.einsum("bpkd,bpk,bpke->bde", rows, weighted, rows, optimize=True)
        return found + self._own_rows.swapaxes(1, 2) @ self._own_rows

    @cached_property
    def pair_directions(self) -> Floats:
        """What a step in z does to the log-ratios of `laplacian.pairs`, (B, P, n(n-1)/2, d)."""
        high, low = pairs(self.features.shape[2])
        return self.directions[:, :, high] - self.directions[:, :, low]

    @cached_property
    def _own_rows(self) -> Floats:
        """A square root of decay's Hessian in z, and of the identity in what is no coordinate, (B, 2 d, d)."""
        decay = np.sqrt(self.decay)[:, None, None] * self.basis
        dead = np.where(self.dead[:, None], np.eye(self.d), 0.0)
        return np.concatenate([decay, dead], axis=1)

    def root(self, weights: Floats) -> Root:
        """The triangular root of the Hessian with these weights by pairs, (n(n-1)/2, C), none of them negative."""
        scale = np.sqrt(self.by_problem(weights) * self.shares[..., None])
        rows = (scale[..., None] * self.pair_directions).reshape(self.size, -1, self.d)
        return Root.of(np.concatenate([rows, self._own_rows], axis=1))

    def reach(self, step: Floats) -> Floats:
        """By how much a step in z (B, d) moves log-ratios at most, (B,)."""
        moved = np.einsum("bpnd,bd->bpn", self.directions, step)
        return np.asarray(np.ptp(moved, axis=2).max(axis=1))


@dataclass(frozen=True, eq=False)
class Root:
    """R with R'R = S'S, by QR of S (B, rows, d), which squares no condition number.

    inverse: of R, (B, d, d). sound: whether S has full rank, and rounding in R is a millionth at most of R v, for any
    v.
    """

    inverse: Floats
    sound: Mask

    @classmethod
    def of(cls, rows: Floats) -> Root:
        d = rows.shape[-1]
        lengths = np.sqrt((rows**2).sum(axis=1))
        scale = np.where(lengths > 0, lengths, 1.0)
        finite = np.isfinite(lengths).all(axis=1)
        scaled = np.where(finite[:, None, None], rows / scale[:, None], 0.0)
        triangle: Floats = np.linalg.qr(scaled, mode="r")  # type: ignore[assignment]
        missing = np.zeros((len(rows), d - triangle.shape[1], d))  # of fewer rows than columns
        triangle = np.concatenate([triangle, missing], axis=1)
        diagonal = np.abs(np.einsum("bdd->bd", triangle))
        full = finite & (diagonal > d * UNIT).all(axis=1)
        inverse = np.linalg.inv(np.where(full[:, None, None], triangle, np.eye(d)))
        # columns of QR are backward stable, each relative to its own length
        condition = np.sqrt((inverse**2).sum(axis=(1, 2)))
        sound = full & (4 * UNIT * d * np.sqrt(rows.shape[1]) * condition < 1e-6)
        return cls(inverse / scale[:, :, None], sound)

    def solve(self, rhs: Floats) -> Floats:
        """H^-1 rhs, (B, d)."""
        return np.einsum("bij,bj->bi", self.inverse, self.whitened(rhs))

    def whitened(self, rhs: Floats) -> Floats:
        """R^-T rhs, (B, d), whose length is that of rhs in the norm sqrt(rhs' H^-1 rhs)."""
        return np.einsum("bij,bi->bj", self.inverse, rhs)

    def lengths(self, rows: Floats) -> Floats:
        """sqrt(a' H^-1 a) of the rows a (B, ..., d)."""
        flat = rows.reshape(len(rows), -1, rows.shape[-1])
        return np.sqrt(((flat @ self.inverse) ** 2).sum(axis=2)).reshape(rows.shape[:-1])


def _bases(seen: Floats) -> tuple[Floats, Indices]:
    """Bases (B, d, d) of the complements of what the rows ``seen`` (B, rows, d) do not see, and their ranks (B,)."""
    batch, rows, d = seen.shape
    lengths = np.sqrt((seen**2).sum(axis=1))
    scale = np.where(lengths > 0, lengths, 1.0)
    triangle = np.linalg.qr(seen / scale[:, None], mode="r")  # has the same singular values, and few rows
    _, values, right = np.linalg.svd(triangle, full_matrices=True)
    values = np.concatenate([values, np.zeros((batch, max(d - values.shape[1], 0)))], axis=1)[:, :d]
    kept = values > DEPENDENT * max(rows, d) * np.maximum(values[:, :1], 1e-300)
    rank = kept.sum(axis=1)
    basis = np.broadcast_to(np.eye(d), (batch, d, d)).copy()
    for b in np.flatnonzero(rank < d):
        unseen = right[b, rank[b] :].T / scale[b][:, None]
        whole = np.linalg.qr(unseen, mode="complete").Q
        basis[b] = 0.0
        basis[b, :, : rank[b]] = whole[:, d - rank[b] :]
    return basis, rank


def roots_of(labels: Indices) -> Indices:
    """The first response with the label of each, (n, C), from labels (n, C)."""
    same = labels[:, None] == labels[None]
    return np.asarray(same.argmax(axis=0))
