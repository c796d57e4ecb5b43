"""The arguments of `Comparisons`: each is converted and checked here, and its messages name rows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csr_array, issparse

from .._checks import as_floats, check_policy, check_shape, first_where
from .._types import Floats, Indices, Mask, Policies
from .arrays import UNIFORM
from .labels import listed

ROOM = 4
"""Numbers for each row that a table of all pairs may have."""


def positions_of(
    winner: Any, loser: Any, responses: list[Hashable] | None, reference: Any
) -> tuple[tuple[Indices, Indices], list[Hashable] | int]:
    """Where winners and losers stand, and all names, or how many responses there are."""
    sides = [_column(name, value) for name, value in (("winner", winner), ("loser", loser))]
    if len(sides[0]) != len(sides[1]):
        raise ValueError(f"loser must have a response for each of {len(sides[0])} winners, got {len(sides[1])}")
    names = None if responses is None else distinct(responses)
    numbers = all(side.dtype.kind in "iu" for side in sides)
    if numbers and (names is None or not all(isinstance(name, int) for name in names)):
        if names is not None:
            n = len(names)
        elif reference is None or isinstance(reference, str):
            n = int(max(side.max() for side in sides)) + 1
        else:
            n = len(reference)
        found = [side.astype(np.intp, copy=False) for side in sides]
        for name, side in zip(("winner", "loser"), found, strict=True):
            if side.min() < 0 or side.max() >= n:
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


def distinct(responses: Iterable[Hashable]) -> list[Hashable]:
    found = list(responses)
    if len(set(found)) < len(found):
        twice = next(name for k, name in enumerate(found) if name in found[:k])
        raise ValueError(f"responses must have distinct names, got {twice!r} twice")
    return found


def amounts_of(weight: Any, rows: int) -> Floats | None:
    if weight is None:
        return None
    found = as_floats("weight", weight)
    check_shape("weight", found, (rows,))
    bad = ~(np.isfinite(found) & (found >= 0))
    if bad.any():
        raise ValueError(f"weight must be non-negative and finite, got {first_where(found, bad)}")
    return found


def ties_of(tie: Any, rows: int) -> Mask:
    found = np.asarray(tie)
    if found.shape != (rows,) or not np.isin(found, (0, 1)).all():
        raise ValueError(f"tie must be true or false for each of {rows} comparisons, got {tie!r:.80}")
    return found.astype(bool)


def wins_of(n: int, winner: Indices, loser: Indices, weight: Floats | None, tie: Mask | None) -> csr_array:
    """Wins (n, n), a tie being half a win of each."""
    amount = weight
    if tie is not None and tie.any():
        amount = np.where(tie, 0.5, 1.0) * (1.0 if weight is None else weight)
        winner, loser = np.concatenate([winner, loser[tie]]), np.concatenate([loser, winner[tie]])
        amount = np.concatenate([amount, amount[tie]])
    if n * n <= ROOM * len(winner):
        return _in_table(n, winner, loser, amount)
    amount = np.ones(len(winner)) if amount is None else amount
    small = np.int32 if n < np.iinfo(np.int32).max else np.int64
    return coo_array((amount, (winner.astype(small), loser.astype(small))), shape=(n, n)).tocsr()


def halves_of(n: int, winner: Indices, loser: Indices, weight: Floats | None, tie: Mask | None) -> csr_array | None:
    """What of the wins (n, n) is halves of ties: symmetric; None where there was none."""
    if tie is None or not tie.any():
        return None
    return wins_of(n, winner[tie], loser[tie], None if weight is None else weight[tie], tie[tie])


def _in_table(n: int, winner: Indices, loser: Indices, amount: Floats | None) -> csr_array:
    """`wins_of` by a table of all pairs, which takes no sorting."""
    table = np.bincount(winner * n + loser, amount, n * n)
    there = table != 0
    start = np.concatenate([[0], np.cumsum(there.reshape(n, n).sum(axis=1))])
    place = np.flatnonzero(there)
    column = place - np.repeat(np.arange(0, n * n, n), np.diff(start))
    found = csr_array((table[place].astype(np.float64), column, start), shape=(n, n))
    found.has_canonical_format = True
    return found


def matrix_of(name: str, value: Any) -> csr_array:
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


def reference_of(value: Any, names: Sequence[Hashable] | None, n: int) -> Policies:
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
