"""The ordered pairs that carry weight, and the sums over them, as sparse matrices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from .._types import Floats, Indices, Mask
from ..bandit.rankings import Triples
from ..losses.statistics import THIRD
from . import laplacian


@dataclass(frozen=True, eq=False)
class Edges:
    """The ordered pairs (winner, loser), shape (E,) each, that carry weight among n responses.

    third: of data that have a third response beside them; the winner by default.
    Its sparse matrices sum what belongs to edges, (E, B), over those that share an end or a pair.
    """

    n: int
    winner: Indices
    loser: Indices
    third: Indices | None = None

    @classmethod
    def of(cls, support: Mask) -> Edges:
        """The edges where ``support`` (n, n) holds; the last ones are kept, with their matrices."""
        return _edges(len(support), support.tobytes())

    @property
    def ends(self) -> tuple[Indices, Indices]:
        return self.winner, self.loser

    @property
    def pairs(self) -> tuple[Indices, Indices]:
        """The high and the low ends of the unordered pairs that sums go to: `laplacian.pairs`, all there are."""
        return laplacian.pairs(self.n)

    @cached_property
    def by_slot(self) -> dict[str, Indices]:
        """The ends by the slot that statistics call them."""
        return {"w": self.winner, "l": self.loser, THIRD: self.winner if self.third is None else self.third}

    @cache  # noqa: B019 (edges are kept as long as their matrices)
    def to(self, slot: str) -> csr_array:
        """Sums over the edges of each response in this slot, (n, E)."""
        end = self.by_slot[slot]
        return self._sums(end, np.ones(len(end)), self.n)

    @cache  # noqa: B019
    def between(self, slot: str, other: str) -> csr_array:
        """Sums over the edges whose responses in two slots are each of `laplacian.pairs`, (n(n-1)/2, E)."""
        return abs(self._signed(self.by_slot[slot], self.by_slot[other]))

    @cached_property
    def to_winner(self) -> csr_array:
        """Sums over the edges of each winner, (n, E)."""
        return self._sums(self.winner, np.ones(len(self.winner)), self.n)

    @cached_property
    def to_loser(self) -> csr_array:
        """Sums over the edges of each loser, (n, E)."""
        return self._sums(self.loser, np.ones(len(self.loser)), self.n)

    @cached_property
    def to_pair(self) -> Any:
        """Sums over both directions of each of `laplacian.pairs`, (n(n-1)/2, E)."""
        return abs(self.net)

    @cached_property
    def net(self) -> Any:
        """The same, edges counting negative whose winner is the low end of the pair, and not where both are one."""
        return self._signed(self.winner, self.loser)

    def _signed(self, one: Indices, other: Indices) -> csr_array:
        high, low = np.maximum(one, other), np.minimum(one, other)
        sign = np.sign(one - other).astype(np.float64)
        pair = np.where(high > low, high * (high - 1) // 2 + low, 0)  # a single response is no pair
        return self._sums(pair, sign, self.n * (self.n - 1) // 2)

    @cached_property
    def upward(self) -> Any:
        """The same over the edges alone whose winner is the high end of the pair."""
        return self.net.maximum(0)

    @cached_property
    def downward(self) -> Any:
        """The same over the edges alone whose winner is the low end of the pair."""
        return self.upward - self.net

    def _sums(self, row: Indices, entry: Floats, rows: int) -> csr_array:
        return csr_array((entry, (row, np.arange(len(row)))), shape=(rows, len(row)))


def edges_of_wins(wins: Floats) -> tuple[Edges, Floats]:
    """Those of pairs, with weights (E, B), from wins (n, n, B)."""
    edges = Edges.of(np.asarray((wins > 0).any(axis=2)))
    return edges, wins[edges.winner, edges.loser]


def edges_of_triples(triples: Triples, n: int, members: Indices, rows: Any) -> tuple[Edges, Floats]:
    """The triples among these responses of n, as edges of their places, and weights (E, B)."""
    place = np.full(n, -1)
    place[members] = np.arange(len(members))
    ends = [place[end] for end in (triples.winner, triples.loser, triples.third)]
    inner = np.logical_and.reduce([end >= 0 for end in ends])
    return Edges(len(members), *(end[inner] for end in ends)), triples.weight.reshape(-1, len(inner))[rows][:, inner].T


@lru_cache(maxsize=16)
def _edges(n: int, support: bytes) -> Edges:
    return Edges(n, *np.nonzero(np.frombuffer(support, dtype=bool).reshape(n, n)))
