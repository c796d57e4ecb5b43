"""A sparse factorisation of a Hessian, where the graph is long and thin enough for one: paths, trees, grids.

On random graphs, whose every half is joined to the other by many pairs, elimination fills in nearly all pairs of a part
of the responses; conjugate gradients then need few steps, and no factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import diags_array
from scipy.sparse.csgraph import reverse_cuthill_mckee
from scipy.sparse.linalg import splu

from ..._types import Floats
from .graph import Graph

MOST = 3e10
"""Operations of an elimination in the order of Cuthill and McKee (1969), up to which a factorisation is tried; SuperLU
finds better orders (minimum degree)."""


def is_thin(graph: Graph) -> bool:
    """Whether elimination has little to fill in."""
    pattern = graph.matrix(np.ones(len(graph.high)))
    order = reverse_cuthill_mckee((pattern + pattern.T).tocsr(), symmetric_mode=True)
    place = np.empty(graph.n, dtype=np.intp)
    place[order] = np.arange(graph.n)
    one, other = place[graph.high], place[graph.low]
    first = np.arange(graph.n)
    np.minimum.at(first, np.maximum(one, other), np.minimum(one, other))
    return bool(((np.arange(graph.n) - first).astype(np.float64) ** 2).sum() <= MOST)


@dataclass(frozen=True, eq=False)
class Factor:
    """Of a Laplacian, and what else is on its diagonal, one vertex of each piece being held."""

    factor: Any

    @classmethod
    def of(cls, graph: Graph, weights: Floats, diagonal: Floats) -> Factor | None:
        """None where curvature is 0 somewhere. diagonal: of all that is factored."""
        below = graph.matrix(weights)
        held = np.zeros(graph.n)
        _, first = np.unique(graph.piece, return_index=True)
        held[first] = diagonal[first]
        matrix = (diags_array(diagonal + held) - below - below.T).tocsc()
        try:
            factor = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        except RuntimeError:  # singular
            return None
        return cls(factor)

    def solve(self, rhs: Floats) -> Floats:
        """x with H x = ``rhs``, for the H that was factored."""
        return np.asarray(self.factor.solve(rhs))
