"""The bandit: prompts, a reference policy, and preferences over pairs, exact or counted.

Everything downstream sees one thing, the weights ``wins[x, i, j]`` of the ordered pairs "i beats j": they sum to one
over each prompt, and are 2 q(i,j|x) p*(i > j|x) over i != j for a population, and observed frequencies for counts.
The preferences p* of a population follow from pi*, or are any others, which no policy may reproduce.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import connected_components

from ._types import Floats, Indices

__all__ = ["SUM_TOLERANCE", "Bandit"]

SUM_TOLERANCE = 1e-6
"""How far from one probabilities may sum; they are then divided by their sum."""


@dataclass(frozen=True, eq=False)
class Bandit:
    """Prompts with a reference policy and preferences.

    Args:
        reference: pi_ref, shape (n,) or (prompts, n): positive, each row summing to one within 1e-6.
        optimal: pi*, the BT-optimal policy, the same shape and conditions: p*(i > j) = pi*_i / (pi*_i + pi*_j).
        pairs: q, how often each pair is compared: ``"uniform"`` over distinct pairs, ``"reference"`` (pi_ref x pi_ref,
            i != j), or an array (n, n) or (prompts, n, n): symmetric, non-negative, zero diagonal, not all zero. It is
            divided by its sum, so that an adjacency matrix of the comparison graph will do.
        prompt_weights: rho, shape (prompts,), non-negative; divided by its sum. Default: equal, or for counts in
            proportion to the number of comparisons.
        counts: use `from_counts`.
        stated_preference: use `from_preferences`.

    Raises:
        ValueError: naming the argument, what was wrong with it and what is accepted.
    """

    reference: Floats
    optimal: Floats | None
    pairs: Any = "uniform"
    prompt_weights: Any = None
    counts: Any = None
    stated_preference: Any = None

    def __post_init__(self) -> None:
        reference = check_policy("reference", self.reference)
        shape = reference.shape
        n = shape[-1]
        if n < 2:
            raise ValueError(f"reference must have at least two responses, got shape {shape}")
        optimal = None
        counts = None
        preference = None
        if self.stated_preference is not None:
            if self.optimal is not None or self.counts is not None:
                raise ValueError("optimal and counts are not used with stated preferences: give one of the three")
            preference = _preference(self.stated_preference, shape)
            pairs = _pair_distribution(self.pairs, reference)
        elif self.counts is None:
            if self.optimal is None:
                raise ValueError(
                    "optimal must be given: positive probabilities (for win counts use Bandit.from_counts)"
                )
            optimal = check_policy("optimal", self.optimal)
            if optimal.shape != shape:
                raise ValueError(f"optimal must have the shape of reference, {shape}; got {optimal.shape}")
            pairs = _pair_distribution(self.pairs, reference)
        else:
            if self.optimal is not None:
                raise ValueError("optimal is not used with counts: give one of the two")
            if not (isinstance(self.pairs, str) and self.pairs == "uniform"):
                raise ValueError("pairs is not used with counts: it follows from them")
            counts = _counts(self.counts, shape)
            pairs = _normalise(counts + np.swapaxes(counts, -1, -2))
        default_weights = np.ones(shape[:-1]) if counts is None else counts.sum(axis=(-1, -2))
        if self.prompt_weights is None:
            weights = np.asarray(default_weights, dtype=np.float64)
        else:
            weights = _array("prompt_weights", self.prompt_weights)
            if weights.shape != shape[:-1]:
                raise ValueError(f"prompt_weights must have shape {shape[:-1]}, got {weights.shape}")
            if not (np.all(weights >= 0) and np.isfinite(weights).all() and weights.sum() > 0):
                raise ValueError("prompt_weights must be non-negative, finite and not all zero")
        values = {
            "reference": reference,
            "optimal": optimal,
            "pairs": pairs,
            "prompt_weights": np.asarray(weights / weights.sum()),
            "counts": counts,
            "stated_preference": preference,
        }
        for name, value in values.items():
            if value is not None:
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    @classmethod
    def from_counts(cls, reference: ArrayLike, counts: ArrayLike, prompt_weights: ArrayLike | None = None) -> Bandit:
        """A data set: ``counts[..., i, j]`` is how often i beat j (non-negative integers, zero diagonal).

        Shapes (n, n) or (prompts, n, n), beside a reference of shape (n,) or (prompts, n). A prompt without any
        comparison is allowed as long as another one has some. No ``optimal`` is known then.
        """
        return cls(reference, None, prompt_weights=prompt_weights, counts=counts)  # type: ignore[arg-type]

    @classmethod
    def from_preferences(
        cls,
        reference: ArrayLike,
        preference: ArrayLike,
        pairs: Any = "uniform",
        prompt_weights: ArrayLike | None = None,
    ) -> Bandit:
        """A population with any preferences, Bradley-Terry or not: ``preference[..., i, j]`` is p*(i > j).

        Shapes (n, n) or (prompts, n, n): in [0, 1], with p*(i > j) + p*(j > i) = 1 within 1e-6 off the diagonal, which
        is not read. Cycles are allowed. No ``optimal`` is known then, even where there is one.
        """
        return cls(reference, None, pairs, prompt_weights, stated_preference=preference)  # type: ignore[arg-type]

    @property
    def n(self) -> int:
        """Number of responses."""
        return int(self.reference.shape[-1])

    @property
    def prompts(self) -> int | None:
        """Number of prompts, or None where policies have the shape (n,)."""
        return int(self.reference.shape[0]) if self.reference.ndim == 2 else None

    @cached_property
    def preference(self) -> Floats:
        """p*(i > j), shape (..., n, n); 1/2 on the diagonal. Raises ValueError for counts, where it is not known."""
        if self.stated_preference is not None:
            return np.asarray(self.stated_preference)
        if self.optimal is None:
            raise ValueError("preference is not known for win counts; see wins for the observed frequencies")
        loser = np.moveaxis(self.optimal, -1, 0).copy()  # with prompts last, every step runs over contiguous numbers
        winner = loser[:, None]
        preference = winner + loser
        np.divide(winner, preference, out=preference)
        return np.moveaxis(preference, (0, 1), (-2, -1))

    @cached_property
    def wins(self) -> Floats:
        """Weight of "i beats j", shape (..., n, n), summing to one over each prompt (to zero without comparisons)."""
        if self.counts is not None:
            return _normalise(self.counts)
        wins = 2 * self.preference
        wins *= self.pairs
        return wins

    @cached_property
    def edges(self) -> tuple[Indices, Indices, Floats]:
        """(winner, loser, weight): the ordered pairs with weight on any prompt, and weights of shape (..., edges)."""
        winner, loser = np.nonzero(np.einsum("xij->ij", self.wins.reshape(-1, self.n, self.n)) > 0)
        flat = self.wins.reshape(*self.reference.shape[:-1], -1)
        return winner, loser, flat.take(winner * self.n + loser, axis=-1)

    @cached_property
    def components(self) -> Indices:
        """Connected component of each response in the comparison graph, shape (..., n), numbered from 0."""
        graphs = (self.pairs > 0).reshape(-1, self.n, self.n)
        labels = np.zeros((len(graphs), self.n), dtype=np.intp)
        off_diagonal = ~np.eye(self.n, dtype=bool)
        sparse = ~graphs[:, off_diagonal].all(axis=1)
        if sparse.any():
            distinct, which = np.unique(np.packbits(graphs[sparse], axis=-1), axis=0, return_inverse=True)
            unpacked = np.unpackbits(distinct, axis=-1, count=self.n)
            found = np.stack([connected_components(graph, directed=False)[1] for graph in unpacked])
            labels[sparse] = found[which.reshape(-1)]
        return labels.reshape(self.reference.shape)


def _array(name: str, value: Any) -> Floats:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers, got {value!r}") from None


def check_policy(name: str, value: Any) -> Floats:
    """Policies of shape (n,) or (prompts, n), divided by their sums; raises unless they are positive and sum to one."""
    array = _array(name, value)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"{name} must have shape (n,) or (prompts, n), got {array.shape}")
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError(f"{name} must hold positive finite probabilities, got {_first_bad(array)}")
    total = array.sum(axis=-1, keepdims=True)
    if (np.abs(total - 1) > SUM_TOLERANCE).any():
        worst = total.flat[np.abs(total - 1).argmax()]
        raise ValueError(f"{name} must sum to one within {SUM_TOLERANCE:g}, got a sum of {worst:.9g}")
    return array / total


def _first_bad(array: Floats) -> str:
    where = tuple(int(i) for i in np.argwhere(~((array > 0) & np.isfinite(array)))[0])
    return f"{array[where]} at index {where[0] if len(where) == 1 else where}"


def _pair_distribution(pairs: Any, reference: Floats) -> Floats:
    n = reference.shape[-1]
    if isinstance(pairs, str):
        if pairs == "uniform":
            q = 1.0 - np.eye(n)
        elif pairs == "reference":
            q = reference[..., :, None] * reference[..., None, :] * (1.0 - np.eye(n))
        else:
            raise ValueError(f"pairs must be 'uniform', 'reference' or an array (n, n), got {pairs!r}")
        return np.broadcast_to(_normalise(q), (*reference.shape, n))  # what all prompts share is kept once
    q = _array("pairs", pairs)
    _check_square("pairs", q, reference.shape)
    if not (np.isfinite(q).all() and (q >= 0).all()):
        raise ValueError("pairs must be non-negative and finite")
    if not np.array_equal(q, np.swapaxes(q, -1, -2)):
        raise ValueError("pairs must be symmetric: q(i, j) = q(j, i)")
    if (np.diagonal(q, axis1=-2, axis2=-1) != 0).any():
        raise ValueError("pairs must have a zero diagonal: a response is not compared with itself")
    if (q.sum(axis=(-1, -2)) == 0).any():
        raise ValueError("pairs must not be empty: at least one pair of every prompt needs a positive weight")
    return np.broadcast_to(_normalise(q), (*reference.shape, n))


def _counts(value: Any, shape: tuple[int, ...]) -> Floats:
    counts = _array("counts", value)
    _check_square("counts", counts, shape)
    if not (np.isfinite(counts).all() and (counts >= 0).all() and (counts == np.floor(counts)).all()):
        raise ValueError("counts must be non-negative integers")
    if (np.diagonal(counts, axis1=-2, axis2=-1) != 0).any():
        raise ValueError("counts must have a zero diagonal: a response does not beat itself")
    if counts.sum() == 0:
        raise ValueError("counts must hold at least one comparison")
    return np.broadcast_to(counts, (*shape, shape[-1])).copy()


def _preference(value: Any, shape: tuple[int, ...]) -> Floats:
    preference = _array("preference", value)
    _check_square("preference", preference, shape)
    preference = np.broadcast_to(preference, (*shape, shape[-1])).copy()
    preference[..., np.arange(shape[-1]), np.arange(shape[-1])] = 0.5
    if not ((preference >= 0) & (preference <= 1)).all():  # nan included
        raise ValueError("preference must hold probabilities, from 0 to 1")
    total = preference + np.swapaxes(preference, -1, -2)
    if (np.abs(total - 1) > SUM_TOLERANCE).any():
        worst = total.flat[np.abs(total - 1).argmax()]
        raise ValueError(
            f"preference must have p(i > j) + p(j > i) = 1 within {SUM_TOLERANCE:g}, got a sum of {worst:.9g}"
        )
    return preference / total


def _check_square(name: str, array: Floats, shape: tuple[int, ...]) -> None:
    n = shape[-1]
    accepted = [(n, n)] if len(shape) == 1 else [(n, n), (*shape, n)]
    if array.shape not in accepted:
        raise ValueError(f"{name} must have shape {' or '.join(map(str, accepted))}, got {array.shape}")


def _normalise(weights: Floats) -> Floats:
    total = weights.sum(axis=(-1, -2), keepdims=True)
    return weights / np.where(total > 0, total, 1.0)
