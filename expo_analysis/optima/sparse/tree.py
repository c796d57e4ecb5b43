r"""A spanning tree of each piece of a graph: routes for currents, upper bounds on resistances, and a rough inverse.

What flows in at vertices can leave by the root along the tree in one way only: the current from each vertex to its
parent is the sum over the vertices below it. The tree is one of shortest paths in resistances 1/w_e, from the vertex of
each piece with the largest sum of weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import splu

from ..._types import Floats, Indices
from .graph import Graph

LARGEST = 1e150
"""Resistances beyond it belong to no tree."""


@dataclass(frozen=True, eq=False)
class Tree:
    """The root of each piece, (count,), the k other vertices, their parents, and the pair that joins them, (k,) each.

    sign: 1 where the vertex is the pair's high end, -1 where it is the low one.
    """

    graph: Graph
    roots: Indices
    vertex: Indices
    parent: Indices
    pair: Indices
    sign: Floats

    @classmethod
    def of(cls, graph: Graph, weights: Floats) -> Tree | None:
        """By weights (P,); None where what is left of positive weights does not join all vertices of a piece."""
        with np.errstate(divide="ignore"):
            resistance = 1 / weights
        there = resistance < LARGEST
        roots = graph.tops(graph.at_ends(weights))
        lengths = graph.matrix(np.where(there, resistance, 0.0))
        if not there.all():
            lengths = lengths.copy()  # whose pattern is nobody else's
            lengths.eliminate_zeros()
        _, before, _ = dijkstra(lengths, directed=False, indices=roots, return_predecessors=True, min_only=True)
        vertex = np.flatnonzero(before >= 0)
        if len(vertex) + len(roots) < graph.n:
            return None
        parent = before[vertex].astype(np.intp)
        high, low = np.maximum(vertex, parent), np.minimum(vertex, parent)
        pair = np.searchsorted(graph.high * graph.n + graph.low, high * graph.n + low)
        return cls(graph, roots, vertex, parent, pair, np.where(vertex == high, 1.0, -1.0))

    @cached_property
    def _order(self) -> Indices:
        """The vertices, children before their parents."""
        n = self.graph.n
        above, depth = np.arange(n), np.zeros(n, dtype=np.intp)
        above[self.vertex], depth[self.vertex] = self.parent, 1
        while (above[above] != above).any():  # twice as far up each time
            depth, above = depth + depth[above], above[above]
        return np.argsort(-depth, kind="stable")

    @cached_property
    def _factor(self) -> Any:
        """Of the matrix that takes from each vertex what its children have, in this order: it is triangular."""
        n, k = self.graph.n, len(self.vertex)
        place = np.empty(n, dtype=np.intp)
        place[self._order] = np.arange(n)
        rows = np.concatenate([np.arange(n), place[self.parent]])
        columns = np.concatenate([np.arange(n), place[self.vertex]])
        matrix = csc_array((np.concatenate([np.ones(n), -np.ones(k)]), (rows, columns)), shape=(n, n))
        return splu(matrix, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

    def _solved(self, values: Floats, transposed: str) -> Floats:
        found = np.empty(self.graph.n)
        found[self._order] = self._factor.solve(values[self._order], transposed)
        return found

    def below(self, values: Floats) -> Floats:
        """The sum over each vertex and all below it, (n,)."""
        return self._solved(values, "N")

    def along(self, rises: Floats) -> Floats:
        """The sum of what belongs to the vertices (k,) on the way from the root, (n,)."""
        own = np.zeros(self.graph.n)
        own[self.vertex] = rises
        return self._solved(own, "T")

    def resistances(self, weights: Floats) -> Floats:
        """To the root along the tree, (n,): upper bounds on effective resistances."""
        with np.errstate(divide="ignore"):
            return self.along(1 / weights[self.pair])

    def flows(self, inflow: Floats) -> Floats:
        """The currents along the tree's pairs, (k,), whose inflow this is, (n,), but for what flows in at roots."""
        return np.asarray(self.sign * self.below(inflow)[self.vertex])

    def currents(self, inflow: Floats) -> Floats:
        """`flows` among all pairs, (P,)."""
        found = np.zeros(len(self.graph.high))
        found[self.pair] = self.flows(inflow)
        return found

    def solve(self, weights: Floats, rhs: Floats) -> Floats:
        """x (n,), 0 at roots, with H x = ``rhs`` for the Laplacian of the tree alone."""
        return self.along(self.below(rhs)[self.vertex] / weights[self.pair])
