"""The bandit: prompts, a reference policy, and preferences over pairs, exact or counted.

Everything downstream sees one thing, the weights ``wins[x, i, j]`` of the ordered pairs "i beats j": they sum to one
over each prompt, and are 2 q(i,j|x) p*(i > j|x) over i != j for a population, and observed frequencies for counts.
The preferences p* of a population follow from pi*, or are any others, which no policy may reproduce.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ._bandit_display import summary, table
from ._checks import SUM_TOLERANCE, as_floats, check_policy, check_shape, first_where
from ._frozen import set_fields
from ._types import Floats, Indices, Mask, PairMatrices, PerPrompt, Policies

__all__ = ["SUM_TOLERANCE", "Bandit", "check_policy"]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Bandit:
    """Prompts with a reference policy and preferences; p*(i > j) = pi*_i / (pi*_i + pi*_j) where pi* is given.

    Args:
        reference: pi_ref, shape (n,) or (prompts, n): positive, each row summing to one within 1e-6.
        optimal: pi*, the Bradley-Terry-optimal policy, the same shape and conditions. For win counts there is
            `from_counts`, for other preferences `from_preferences`.
        pairs: q, how often each pair is compared: ``"uniform"`` over distinct pairs, ``"reference"`` (pi_ref x pi_ref,
            i != j), or an array (n, n) or (prompts, n, n): symmetric, non-negative, zero diagonal, not all zero. It is
            divided by its sum, so that an adjacency matrix of the comparison graph will do.
        prompt_weights: rho, shape (prompts,), non-negative; divided by its sum. Default: equal, or for counts in
            proportion to the number of comparisons.

    Attributes, arrays that cannot be written to:
        reference, pairs, prompt_weights: as above, normalised. optimal: as above; None for counts and for preferences
            that are stated. counts: for `from_counts`, else None. stated_preference: for `from_preferences`, else None.

    Raises:
        ValueError: naming the argument, what was wrong with it and what is accepted.

    Example:
        >>> import expo_analysis as ea
        >>> ea.Bandit(reference=[0.4, 0.4, 0.2], optimal=[0.6, 0.3, 0.1]).preference[0].round(3)
        array([0.5  , 0.667, 0.857])
    """

    reference: Policies
    optimal: Policies | None
    pairs: PairMatrices
    prompt_weights: PerPrompt
    counts: PairMatrices | None = field(init=False)
    stated_preference: PairMatrices | None = field(init=False)

    def __init__(
        self,
        reference: ArrayLike,
        optimal: ArrayLike,
        pairs: str | ArrayLike = "uniform",
        prompt_weights: ArrayLike | None = None,
    ) -> None:
        policy = check_policy("reference", reference, least=2)
        if optimal is None:
            raise ValueError("optimal must be given: positive probabilities (for win counts use Bandit.from_counts)")
        best = check_policy("optimal", optimal)
        if best.shape != policy.shape:
            raise ValueError(f"optimal must have the shape of reference, {policy.shape}; got {best.shape}")
        self._settle(policy, _pair_distribution(pairs, policy), prompt_weights, optimal=best)

    @classmethod
    def from_counts(cls, reference: ArrayLike, counts: ArrayLike, prompt_weights: ArrayLike | None = None) -> Bandit:
        """A data set: ``counts[..., i, j]`` is how often i beat j (non-negative integers, zero diagonal).

        Shapes (n, n) or (prompts, n, n), beside a reference of shape (n,) or (prompts, n). A prompt without any
        comparison is allowed as long as another one has some. No ``optimal`` is known then.

        Example:
            >>> import expo_analysis as ea
            >>> ea.Bandit.from_counts([0.4, 0.4, 0.2], [[0, 5, 3], [0, 0, 2], [0, 1, 0]]).wins.sum()
            np.float64(1.0)
        """
        policy = check_policy("reference", reference, least=2)
        won = _counts(counts, policy.shape)
        pairs = _normalise(won + np.swapaxes(won, -1, -2))
        made = cls.__new__(cls)
        made._settle(policy, pairs, prompt_weights, won.sum(axis=(-1, -2)), counts=won)
        return made

    @classmethod
    def from_preferences(
        cls,
        reference: ArrayLike,
        preference: ArrayLike,
        pairs: str | ArrayLike = "uniform",
        prompt_weights: ArrayLike | None = None,
    ) -> Bandit:
        """A population with any preferences, Bradley-Terry or not: ``preference[..., i, j]`` is p*(i > j).

        Shapes (n, n) or (prompts, n, n): in [0, 1], with p*(i > j) + p*(j > i) = 1 within 1e-6 off the diagonal, which
        is not read. Cycles are allowed. No ``optimal`` is known then, even where there is one.

        Example:
            >>> import expo_analysis as ea
            >>> rock_paper_scissors = [[0.5, 0, 1], [1, 0.5, 0], [0, 1, 0.5]]
            >>> ea.solve(ea.EXPO(1.0), ea.Bandit.from_preferences([1 / 3] * 3, rock_paper_scissors)).policy.round(3)
            array([0.333, 0.333, 0.333])
        """
        policy = check_policy("reference", reference, least=2)
        stated = _preference(preference, policy.shape)
        made = cls.__new__(cls)
        made._settle(policy, _pair_distribution(pairs, policy), prompt_weights, stated_preference=stated)
        return made

    def _settle(
        self,
        reference: Policies,
        pairs: PairMatrices,
        prompt_weights: ArrayLike | None,
        default_weights: PerPrompt | None = None,
        *,
        optimal: Policies | None = None,
        counts: PairMatrices | None = None,
        stated_preference: PairMatrices | None = None,
    ) -> None:
        """What every constructor ends with: fields that are converted and checked, and the prompts' weights."""
        weights = _prompt_weights(prompt_weights, reference.shape[:-1], default_weights)
        set_fields(
            self,
            reference=reference,
            optimal=optimal,
            pairs=pairs,
            prompt_weights=weights,
            counts=counts,
            stated_preference=stated_preference,
        )

    @property
    def n(self) -> int:
        """Number of responses."""
        return int(self.reference.shape[-1])

    @property
    def prompts(self) -> int | None:
        """Number of prompts, or None where policies have the shape (n,)."""
        return int(self.reference.shape[0]) if self.reference.ndim == 2 else None

    @cached_property
    def preference(self) -> PairMatrices:
        """p*(i > j), shape (..., n, n); 1/2 on the diagonal. Raises ValueError for counts, where it is not known."""
        if self.stated_preference is not None:
            return self.stated_preference
        if self.optimal is None:
            raise ValueError("preference is not known for win counts; see wins for the observed frequencies")
        loser = np.moveaxis(self.optimal, -1, 0).copy()  # with prompts last, every step runs over contiguous numbers
        winner = loser[:, None]
        preference = winner + loser
        np.divide(winner, preference, out=preference)
        return np.moveaxis(preference, (0, 1), (-2, -1))

    @cached_property
    def wins(self) -> PairMatrices:
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
        from scipy.sparse.csgraph import connected_components  # takes longer to load than most bandits to solve

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

    def __repr__(self) -> str:
        return f"<Bandit: {summary(self.reference, self.optimal, self.pairs, self.counts)}>"

    def _repr_html_(self) -> str:
        return table(self.reference, self.optimal, self.pairs, self.counts)


# ----------------------------------------------------------------------------------------------------------- converters


def _pair_distribution(pairs: str | ArrayLike, reference: Policies) -> PairMatrices:
    """q, which sums to one over each prompt; what all prompts share is kept once."""
    n = reference.shape[-1]
    if isinstance(pairs, str):
        if pairs == "uniform":
            q = 1.0 - np.eye(n)
        elif pairs == "reference":
            q = reference[..., :, None] * reference[..., None, :] * (1.0 - np.eye(n))
        else:
            raise ValueError(f"pairs must be 'uniform', 'reference' or an array (n, n), got {pairs!r}")
        return np.broadcast_to(_normalise(q), (*reference.shape, n))
    q = as_floats("pairs", pairs)
    _check_square("pairs", q, reference.shape)
    _refuse("pairs must be non-negative and finite", q, ~(np.isfinite(q) & (q >= 0)))
    _refuse("pairs must be symmetric: q(i, j) = q(j, i)", q, q != np.swapaxes(q, -1, -2))
    _refuse("pairs must have a zero diagonal: a response is not compared with itself", q, (q != 0) & _diagonal(n))
    if (q == 0).all(axis=(-1, -2)).any():
        raise ValueError("pairs must not be empty: at least one pair of every prompt needs a positive weight")
    _check_sum("pairs", q, axis=(-1, -2))
    return np.broadcast_to(_normalise(q), (*reference.shape, n))


def _counts(value: ArrayLike, shape: tuple[int, ...]) -> PairMatrices:
    counts = as_floats("counts", value)
    _check_square("counts", counts, shape)
    whole = np.isfinite(counts) & (counts >= 0) & (counts == np.floor(counts))
    _refuse("counts must be non-negative integers", counts, ~whole)
    on_diagonal = (counts != 0) & _diagonal(shape[-1])
    _refuse("counts must have a zero diagonal: a response does not beat itself", counts, on_diagonal)
    if not counts.any():
        raise ValueError("counts must hold at least one comparison")
    counts = np.broadcast_to(counts, (*shape, shape[-1])).copy()
    _check_sum("counts", counts)
    return counts


def _preference(value: ArrayLike, shape: tuple[int, ...]) -> PairMatrices:
    preference = as_floats("preference", value)
    _check_square("preference", preference, shape)
    preference = np.broadcast_to(preference, (*shape, shape[-1])).copy()
    preference[..., _diagonal(shape[-1])] = 0.5
    unlikely = ~((preference >= 0) & (preference <= 1))  # nan included
    _refuse("preference must hold probabilities, from 0 to 1", preference, unlikely)
    total = preference + np.swapaxes(preference, -1, -2)
    if (np.abs(total - 1) > SUM_TOLERANCE).any():
        worst = total.flat[np.abs(total - 1).argmax()]
        raise ValueError(
            f"preference must have p(i > j) + p(j > i) = 1 within {SUM_TOLERANCE:g}, got a sum of {worst:.9g}"
        )
    return np.asarray(preference / total)


def _prompt_weights(value: ArrayLike | None, shape: tuple[int, ...], default: PerPrompt | None) -> PerPrompt:
    """rho, which sums to one; by default the prompts are equal, or as ``default`` has them."""
    if value is None:
        weights = np.ones(shape) if default is None else np.asarray(default)
    else:
        weights = as_floats("prompt_weights", value)
        check_shape("prompt_weights", weights, shape)
        bad = ~(np.isfinite(weights) & (weights >= 0))
        _refuse("prompt_weights must be non-negative, finite and not all zero", weights, bad)
        if not weights.any():
            raise ValueError("prompt_weights must be non-negative, finite and not all zero")
        _check_sum("prompt_weights", weights)
    return np.asarray(weights / weights.sum())


def _normalise(weights: PairMatrices) -> PairMatrices:
    """Divided by the sum over each prompt; a prompt without weights keeps none."""
    total = weights.sum(axis=(-1, -2), keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, 1.0))


def _diagonal(n: int) -> Mask:
    return np.eye(n, dtype=bool)


def _check_square(name: str, array: Floats, shape: tuple[int, ...]) -> None:
    n = shape[-1]
    check_shape(name, array, *([(n, n)] if len(shape) == 1 else [(n, n), (*shape, n)]))


def _refuse(rule: str, array: Floats, bad: Mask) -> None:
    """Raise for the first entry that breaks a rule."""
    if bad.any():
        raise ValueError(f"{rule}, got {first_where(array, bad)}")


def _check_sum(name: str, array: Floats, axis: tuple[int, ...] | None = None) -> None:
    """Raise where weights cannot be divided by their sum; twice the sum is what the two orders of a pair come to."""
    with np.errstate(over="ignore"):
        total = 2 * array.sum(axis=axis)
    if not np.isfinite(total).all():
        raise ValueError(f"{name} must have a sum that is finite in floating point, got entries up to {array.max():g}")
