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
from scipy.sparse import coo_array, csr_array, issparse

from .._checks import as_floats, check_policy, check_shape, first_where
from .._frozen import set_fields
from .._types import Floats, Indices, Mask, Policies
from .arrays import UNIFORM
from .bandit import Bandit
from .display import count
from .labels import Labels, listed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparisons"]

TIES = ("half", "drop")
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
        reference: (n,). responses: names, or None where responses are numbers.

    Raises:
        ValueError: naming the argument and the row.

    Example:
        >>> import expo_analysis as ea
        >>> games = ea.Comparisons(["anna", "bob", "anna"], ["bob", "carl", "carl"], tie=[False, False, True])
        >>> games
        <Comparisons: 3 responses, 3 comparisons of 3 pairs>
        >>> ea.solve(ea.EXPO(0.1), games).policy.round(3)
        array([0.672, 0.237, 0.091])
    """

    winner: Indices
    loser: Indices
    weight: Floats
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
        sides, names = _positions(winner, loser, None if responses is None else list(responses), reference)
        n = len(names) if isinstance(names, list) else names
        amount = _amounts(weight, len(sides[0]))
        drawn = None if tie is None else _ties(tie, len(sides[0]))
        self._settle(_wins(n, *sides, amount, drawn), names if isinstance(names, list) else None, reference)

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
        won = _matrix("counts", counts)
        if ties is not None:
            drawn = _matrix("ties", ties)
            check_shape("ties", drawn, won.shape)
            if abs(drawn - drawn.T).max() > 0:
                raise ValueError("ties must be symmetric: ties[i, j] = ties[j, i] is how often i and j tied")
            won = won + drawn / 2
        names = None if responses is None else _distinct(responses)
        if names is not None and len(names) != won.shape[0]:
            raise ValueError(f"responses must name each of {won.shape[0]} rows of counts, got {len(names)}")
        made = cls.__new__(cls)
        made._settle(won, names, reference)
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
        made._settle(_wins(n, *sides, weight, tie), responses, reference)
        return made

    def _settle(self, wins: csr_array, names: Sequence[Hashable] | None, reference: Any) -> None:
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
            reference=_reference(reference, names, n),
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
        counts = np.zeros((self.n, self.n))
        counts[self.winner, self.loser] = self.weight
        return Bandit.from_counts(self.reference, counts, responses=self.responses)

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


def _positions(
    winner: Any, loser: Any, responses: list[Hashable] | None, reference: Any
) -> tuple[tuple[Indices, Indices], list[Hashable] | int]:
    """Where winners and losers stand, and all names, or how many responses there are."""
    sides = [_column(name, value) for name, value in (("winner", winner), ("loser", loser))]
    if len(sides[0]) != len(sides[1]):
        raise ValueError(f"loser must have a response for each of {len(sides[0])} winners, got {len(sides[1])}")
    names = None if responses is None else _distinct(responses)
    numbers = all(side.dtype.kind in "iu" for side in sides)
    if numbers and (names is None or not all(isinstance(name, int) for name in names)):
        if names is not None:
            n = len(names)
        elif reference is None or isinstance(reference, str):
            n = int(max(side.max() for side in sides)) + 1
        else:
            n = len(reference)
        found = [side.astype(np.intp) for side in sides]
        for name, side in zip(("winner", "loser"), found, strict=True):
            _refuse(name, side, (side < 0) | (side >= n), f"must be a position from 0 to {n - 1}")
        _check_apart(*found)
        return (found[0], found[1]), n if names is None else names
    found, labels = coded(sides)
    order: list[Hashable] = sorted_labels(labels) if names is None else names
    where = {label: k for k, label in enumerate(order)}
    place = np.array([where.get(label, -1) for label in labels], dtype=np.intp)
    found = [place[side] for side in found]
    for name, side, given in zip(("winner", "loser"), found, sides, strict=True):
        _refuse(name, given, side < 0, f"must be one of responses, {listed(order)}")
    _check_apart(*found)
    return (found[0], found[1]), order


def _column(name: str, value: Any) -> Any:
    """One name or number for each comparison."""
    try:
        found = np.asarray(value)
    except ValueError:  # of rows of several lengths
        found = np.zeros(())
    if found.shape == (0,):
        raise ValueError(f"{name} must hold at least one response")
    if found.ndim != 1 or found.dtype.kind not in "iuUOTS":
        raise ValueError(f"{name} must be names or positions, one for each comparison, got {value!r:.80}")
    return found


def coded(columns: Sequence[Any]) -> tuple[list[Indices], list[Any]]:
    """Columns of names as positions in the list of all names that occur, and that list.

    Raises:
        ValueError: a name is missing.
    """
    import pandas as pd

    codes, labels = pd.factorize(np.concatenate([np.asarray(column, dtype=object) for column in columns]))
    missing = np.flatnonzero(codes < 0)
    if len(missing):
        raise ValueError(f"names of responses must not be missing, as in row {missing[0] % len(columns[0])}")
    return list(np.split(codes.astype(np.intp), len(columns))), labels.tolist()


def sorted_labels(labels: Iterable[Any]) -> list[Any]:
    """In alphabetical order, or that of numbers, whole numbers written as text too; of several kinds, as written."""
    every = list(labels)
    if all(isinstance(label, str) and label.isdecimal() and label == str(int(label)) for label in every):
        return sorted(every, key=int)
    try:
        return sorted(every)
    except TypeError:
        return sorted(every, key=str)


def _distinct(responses: Iterable[Hashable]) -> list[Hashable]:
    found = list(responses)
    if len(set(found)) < len(found):
        twice = next(name for k, name in enumerate(found) if name in found[:k])
        raise ValueError(f"responses must have distinct names, got {twice!r} twice")
    return found


def _amounts(weight: Any, rows: int) -> Floats | None:
    if weight is None:
        return None
    found = as_floats("weight", weight)
    check_shape("weight", found, (rows,))
    bad = ~(np.isfinite(found) & (found >= 0))
    if bad.any():
        raise ValueError(f"weight must be non-negative and finite, got {first_where(found, bad)}")
    return found


def _ties(tie: Any, rows: int) -> Mask:
    found = np.asarray(tie)
    if found.shape != (rows,) or not np.isin(found, (0, 1)).all():
        raise ValueError(f"tie must be true or false for each of {rows} comparisons, got {tie!r:.80}")
    return found.astype(bool)


def _wins(n: int, winner: Indices, loser: Indices, weight: Floats | None, tie: Mask | None) -> csr_array:
    """Wins (n, n), a tie being half a win of each."""
    amount = np.ones(len(winner)) if weight is None else weight
    if tie is not None and tie.any():
        amount = np.where(tie, amount / 2, amount)
        winner, loser = np.concatenate([winner, loser[tie]]), np.concatenate([loser, winner[tie]])
        amount = np.concatenate([amount, amount[tie]])
    small = np.int32 if n < np.iinfo(np.int32).max else np.int64
    return coo_array((amount, (winner.astype(small), loser.astype(small))), shape=(n, n)).tocsr()


def _matrix(name: str, value: Any) -> csr_array:
    if not issparse(value):
        value = as_floats(name, value)
    if value.ndim != 2 or value.shape[0] != value.shape[1]:
        raise ValueError(f"{name} must have shape (n, n), got {value.shape}")
    found = csr_array(value, dtype=np.float64)
    entries = found.tocoo()
    wrong = ~(np.isfinite(entries.data) & (entries.data >= 0))
    if wrong.any():
        k = int(wrong.argmax())
        raise ValueError(f"{name} must be non-negative and finite, got {entries.data[k]} at index {_at(entries, k)}")
    own = (entries.coords[0] == entries.coords[1]) & (entries.data != 0)
    if own.any():
        k = int(own.argmax())
        raise ValueError(f"{name} must have a zero diagonal, got {entries.data[k]} at index {_at(entries, k)}")
    return found


def _at(entries: coo_array, k: int) -> tuple[int, ...]:
    return tuple(int(axis[k]) for axis in entries.coords)


def _reference(value: Any, names: Sequence[Hashable] | None, n: int) -> Policies:
    if value is None or (isinstance(value, str) and value == UNIFORM):
        return np.full(n, 1 / n)
    if hasattr(value, "reindex"):
        if names is not None:
            own = value.reindex(list(names))
            lacking = [name for name, p in own.items() if p != p]
            if lacking or len(value) != n:
                strange = [name for name in value.index if name not in set(names)]
                wrong = f"lacks {listed(lacking)}" if lacking else f"names {listed(strange)}"
                raise ValueError(f"reference must have a probability for each response and no other: it {wrong}")
            value = own
        value = value.to_numpy()
    found = check_policy("reference", value, least=2)
    check_shape("reference", found, (n,))
    return found


def _check_apart(winner: Indices, loser: Indices) -> None:
    _refuse("winner and loser", winner, winner == loser, "must differ")


def _refuse(name: str, column: Any, bad: Mask, rule: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        got = column[row].item() if hasattr(column[row], "item") else column[row]
        raise ValueError(f"{name} {rule}, got {got!r} in row {row}")
