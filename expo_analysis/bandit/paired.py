"""Who beat whom among many: the pairs that were compared, and no number for any other.

A `Bandit` has a number for each pair of its responses. Of a million players nearly all pairs never met; `Comparisons`
keeps those that did, as (winner, loser, weight), each ordered pair once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from .._checks import check_shape
from .._frozen import set_fields
from .._types import Floats, Indices, Mask, Policies
from .bandit import Bandit
from .columns import amounts_of, distinct, halves_of, matrix_of, positions_of, reference_of, ties_of, wins_of
from .display import count
from .labels import Labels

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparisons"]

DENSE = 5_000
"""Responses up to which a table of all pairs is made."""


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Comparisons:
    """Comparisons of up to millions of responses (players, models), one by one or counted, without a prompt.

    `solve` takes them in the place of a `Bandit`, for convex losses of log-ratios, alone or beside
    lam KL(pi_ref || pi): `BradleyTerry`, `DPO`, `IPO`, `EXPO` and others. Memory and time grow with the pairs that were
    compared.

    Args:
        winner, loser: of each comparison: names, or whole numbers, which are positions from 0; of one length.
        weight: of each comparison, non-negative; by default 1. Equal pairs are added up.
        tie: whether each comparison was a tie, half a win of each; by default none was.
        reference: pi_ref, (n,), in the order of ``responses``, or a Series by their names; by default all are equal.
        responses: all names in their order. Default: those that occur, sorted; of whole numbers 0 ... the largest.

    Attributes, arrays that cannot be written to:
        winner, loser, weight: of each ordered pair with a positive weight, once, sorted; a tie is half a win each.
        tied: how much of each weight is halves of ties, of its shape; None where there was no tie.
        reference: (n,). responses: names, or None where responses are numbers.

    Raises:
        ValueError: naming the argument and the row.

    Example:
        >>> import expo_analysis as ea
        >>> games = ea.Comparisons(["anna", "bob", "anna"], ["bob", "carl", "carl"], tie=[False, False, True])
        >>> games
        <Comparisons: 3 responses, 3 comparisons of 3 pairs>
        >>> ea.solve(ea.EXPO(0.1), games).policy.round(3)
        array([0.552, 0.297, 0.152])
    """

    winner: Indices
    loser: Indices
    weight: Floats
    tied: Floats | None
    reference: Policies
    responses: Labels | None

    def __init__(
        self,
        winner: Any,
        loser: Any,
        weight: ArrayLike | None = None,
        *,
        tie: ArrayLike | None = None,
        reference: Any = None,
        responses: Iterable[Hashable] | None = None,
    ) -> None:
        sides, names = positions_of(winner, loser, None if responses is None else list(responses), reference)
        n = len(names) if isinstance(names, list) else names
        amount = amounts_of(weight, len(sides[0]))
        drawn = None if tie is None else ties_of(tie, len(sides[0]))
        data = (n, *sides, amount, drawn)
        self._settle(wins_of(*data), halves_of(*data), names if isinstance(names, list) else None, reference)

    @classmethod
    def from_counts(
        cls,
        counts: Any,
        *,
        ties: Any = None,
        reference: Any = None,
        responses: Iterable[Hashable] | None = None,
    ) -> Comparisons:
        """Counts in a matrix: ``counts[i, j]`` is how often i beat j.

        Args:
            counts: (n, n), a scipy sparse matrix or array, or a numpy array: non-negative, with a zero diagonal.
            ties: ``ties[i, j]`` = ``ties[j, i]`` is how often i and j tied, likewise.

        Example:
            >>> import expo_analysis as ea, scipy.sparse as sp
            >>> ea.Comparisons.from_counts(sp.csr_array([[0, 3, 0], [1, 0, 2], [0, 0, 0]]))
            <Comparisons: 3 responses, 6 comparisons of 2 pairs>
        """
        won, halves = matrix_of("counts", counts), None
        if ties is not None:
            drawn = matrix_of("ties", ties)
            check_shape("ties", drawn, won.shape)
            if abs(drawn - drawn.T).max() > 0:
                raise ValueError("ties must be symmetric: ties[i, j] = ties[j, i] is how often i and j tied")
            halves = csr_array(drawn / 2)
            won = won + halves
        names = None if responses is None else distinct(responses)
        if names is not None and len(names) != won.shape[0]:
            raise ValueError(f"responses must name each of {won.shape[0]} rows of counts, got {len(names)}")
        made = cls.__new__(cls)
        made._settle(won, halves, names, reference)
        return made

    @classmethod
    def from_frame(
        cls,
        comparisons: pd.DataFrame,
        *,
        ties: str = "half",
        reference: Any = None,
        responses: Iterable[Hashable] | None = None,
    ) -> Comparisons:
        """A comparison, a match or a battle in each row of a DataFrame, in the forms of `Bandit.from_comparisons`.

        Args:
            ties: ``"half"`` a win of each, or ``"drop"``: left out.

        Example:
            >>> import expo_analysis as ea, pandas as pd
            >>> games = pd.DataFrame({"model_a": ["x", "x"], "model_b": ["y", "y"], "winner": ["model_a", "tie"]})
            >>> ea.Comparisons.from_frame(games).weight
            array([1.5, 0.5])
        """
        from .chunks import Tally

        tally = Tally(ties, text=False)
        tally.add_frame(comparisons)
        return tally.comparisons(reference, responses)

    @classmethod
    def counted(
        cls,
        n: int,
        sides: tuple[Indices, Indices],
        weight: Floats,
        tie: Mask,
        reference: Any,
        responses: Sequence[Hashable] | None,
    ) -> Comparisons:
        """Of winners and losers by position, already checked."""
        made = cls.__new__(cls)
        data = (n, *sides, weight, tie)
        made._settle(wins_of(*data), halves_of(*data), responses, reference)
        return made

    def _settle(
        self, wins: csr_array, halves: csr_array | None, names: Sequence[Hashable] | None, reference: Any
    ) -> None:
        n = wins.shape[0]
        if n < 2:
            raise ValueError(f"comparisons must have two responses or more, got {n}")
        wins.sum_duplicates()
        wins.eliminate_zeros()
        if not wins.nnz:
            raise ValueError("comparisons must hold at least one comparison")
        with np.errstate(over="ignore"):
            total = 2 * wins.data.sum()
        if not np.isfinite(total):
            raise ValueError(f"weight must have a sum that is finite in floating point, got up to {wins.data.max():g}")
        winner = np.repeat(np.arange(n), np.diff(wins.indptr))
        set_fields(
            self,
            winner=winner,
            loser=wins.indices.astype(np.intp),
            weight=wins.data,
            tied=None if halves is None else _at_entries(halves, n, winner, wins.indices.astype(np.intp)),
            reference=reference_of(reference, names, n),
            responses=None if names is None or list(names) == list(range(n)) else tuple(names),
        )

    @property
    def n(self) -> int:
        """Number of responses."""
        return len(self.reference)

    prompts = None
    """There is one prompt, which has no axis."""
    optimal = None
    """pi* is not known."""

    def bandit(self) -> Bandit:
        """The `Bandit` of the same counts, with a number for each pair: for other losses, and for few responses."""
        if self.n > DENSE:
            raise ValueError(f"comparisons of {self.n:,} responses are too many for a Bandit, which takes {DENSE:,}")
        counts, ties = np.zeros((2, self.n, self.n))
        counts[self.winner, self.loser] = self.weight
        if self.tied is not None:
            counts[self.winner, self.loser] -= self.tied
            ties[self.winner, self.loser] = 2 * self.tied
        known = None if self.tied is None else ties
        return Bandit.from_counts(self.reference, counts, ties=known, responses=self.responses)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"Comparisons have no {name!r}, as they have no table of all pairs: comparisons.bandit() has one, for few "
            "responses",
            name=name,
            obj=self,
        )

    def __repr__(self) -> str:
        keys = np.maximum(self.winner, self.loser) * self.n + np.minimum(self.winner, self.loser)
        pairs, total = len(np.unique(keys)), float(self.weight.sum())
        return f"<Comparisons: {count(self.n, 'response')}, {count(total, 'comparison')} of {count(pairs, 'pair')}>"


def _at_entries(halves: csr_array, n: int, winner: Indices, loser: Indices) -> Floats | None:
    """Of each win, sorted, what is halves of ties; None where nothing is."""
    halves.sum_duplicates()
    found = np.zeros(len(winner))
    keys = np.repeat(np.arange(n), np.diff(halves.indptr)) * n + halves.indices
    some = halves.data > 0
    found[np.searchsorted(winner * n + loser, keys[some])] = halves.data[some]
    return found if some.any() else None
