"""Existence and uniqueness on comparisons, as `expo_analysis.optima.structure` has them, by graphs that are sparse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from ..._types import Floats, Indices, Mask
from ...bandit.labels import Labels
from ...divergences import ForwardKL
from ...losses.facts import Facts
from ..edges import Edges
from ..solution import Status
from ..structure import costs_of_ends, has_both_signs
from .graph import exact_sums, matrix_of
from .problem import Wins

SHOWN = 5
"""Responses that a message names."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """What is solved on its own.

    component: of the comparison graph, of each response, (n,). piece: on which a minimiser exists, (n,), -1 where a
    response loses all mass. mass: of each piece. held: whether forward KL tells components their masses. assumed:
    whether existence is assumed, and an error bound has to prove it.
    """

    component: Indices
    piece: Indices
    mass: Floats
    held: bool
    assumed: bool

    @property
    def lost(self) -> Indices:
        """The responses whose probability tends to zero."""
        return np.flatnonzero(self.piece < 0)


def pieces_of(facts: Facts, edges: Edges, weight: Floats, wins: Wins, reference: Floats) -> Pieces:
    """The pieces of an objective of which ``facts`` are known, on edges of these weights, (E,)."""
    n = wins.n
    linked = matrix_of(n, wins.high, wins.low)
    component = connected_components(linked, directed=False)[1].astype(np.intp)
    held = type(facts.regulariser) is ForwardKL
    signed = not held and (facts.slopes is None or facts.decay is None or has_both_signs(facts))
    piece = component
    if not (held or signed):
        piece = _unbeaten(_costs(facts, edges, weight, n), component)
    kept = piece >= 0
    mass = exact_sums(piece[kept], reference[kept], int(piece.max()) + 1)
    home = np.zeros(len(mass), dtype=np.intp)
    home[piece[kept]] = component[kept]
    own, whole = (
        exact_sums(component[of], reference[of], int(component.max()) + 1) for of in (kept, np.ones(n, dtype=bool))
    )
    return Pieces(component, piece, mass * (whole / np.where(own > 0, own, 1.0))[home], held, signed)


def _costs(facts: Facts, edges: Edges, weight: Floats, n: int) -> csr_array:
    """Where raising one response over another costs: of each edge the winner over the loser, and the reverse."""
    below, above = (np.broadcast_to(np.ravel(x), weight.shape) > 0 for x in costs_of_ends(facts))
    rows = np.concatenate([edges.winner[above], edges.loser[below]])
    columns = np.concatenate([edges.loser[above], edges.winner[below]])
    found = coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    # one direction alone has each pair once, and need not be sorted to be told apart
    found.has_canonical_format = not (above.any() and below.any())
    return found.tocsr()


def _unbeaten(costs: csr_array, component: Indices) -> Indices:
    """The strongly connected parts that no cost leaves, numbered in the order of their first responses; else -1."""
    part = connected_components(costs, directed=True, connection="strong")[1].astype(np.intp)
    row = np.repeat(part, np.diff(costs.indptr))
    leaves = np.zeros(part.max() + 1, dtype=bool)
    leaves[row[row != part[costs.indices]]] = True
    piece = np.full(len(part), -1)
    kept = ~leaves[part]
    _, first, number = np.unique(part[kept], return_index=True, return_inverse=True)
    piece[kept] = np.argsort(np.argsort(first))[number]
    return piece


def describe(pieces: Pieces, names: Labels | None) -> tuple[Status, str]:
    """Status and message that follow from the structure alone."""
    notes = []
    sizes = np.bincount(pieces.component)
    kept = pieces.piece >= 0
    if len(pieces.lost):
        notes.append(
            f"no minimiser: {_called(pieces.lost, names)} lose every comparison that could hold them up, so the loss "
            "keeps falling as their probability tends to 0; the policy is that limit"
        )
    homes = np.unique(pieces.component[kept])
    if len(pieces.mass) > len(homes):
        notes.append(
            f"the data do not rank {len(pieces.mass):,} groups of responses against each other: they share their "
            "component's mass as the reference does"
        )
    if len(sizes) > 1:
        alone = np.flatnonzero(sizes[pieces.component] == 1)
        unseen = f" ({_called(alone, names)} are in no comparison)" if len(alone) else ""
        parts = f"the comparison graph has {len(sizes):,} components{unseen}"
        if pieces.held:
            return Status.OPTIMAL, f"{parts}; each keeps its mass under the reference"
        notes.append(
            f"{parts}, whose total masses the objective leaves open; the policy returned keeps each at its mass under "
            "the reference"
        )
    status = Status.NO_MINIMISER if len(pieces.lost) else Status.NOT_UNIQUE if notes else Status.OPTIMAL
    return status, "; ".join(notes) or "the minimiser"


def _called(responses: Sequence[Any] | Indices, names: Labels | None) -> str:
    """A few responses by name, and how many there are."""
    shown = ", ".join(str(i if names is None else names[i]) for i in responses[:SHOWN])
    count = len(responses)
    more = f", ... {count:,} in all" if count > SHOWN else ""
    return f"responses [{shown}{more}]"


def inside(piece: Indices, wins: Wins) -> Mask:
    """The pairs whose ends are in one piece."""
    return np.asarray((piece[wins.high] >= 0) & (piece[wins.high] == piece[wins.low]))
