"""Comparisons drawn from a bandit: data sets of (prompt, winner, loser), several at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike

from .._checks import check_number, check_option, check_policy, check_whole
from .._frozen import set_fields
from .._types import Floats, Indices, Mask
from ..bandit import Bandit
from ..bandit.arrays import of_responses
from ..bandit.labels import Names

DESIGNS = ("pairs", "uniform", "reference")
"""Where the two responses of a comparison come from, see `draw_pairs`."""

CELLS = 5_000_000
"""Numbers in the largest table of pairs that drawing makes: 40 MB."""


@dataclass(frozen=True, eq=False, init=False)
class Pairs:
    """Data sets of comparisons, in the order in which training meets them.

    Args:
        reference: pi_ref, shape (n,) or (prompts, n).
        winner, loser, prompt: shape (N,) for one data set, or (data sets, N); one prompt needs no ``prompt``.
        size: how many of the N belong to each data set, shape (data sets,); the rest is padding. Default: all.
        optimal: pi*, where it is known; shape of ``reference``. Distances of a `Trajectory` are to it, and log pi* is
            the reward where none is stated.
        rewards, lengths: of each response, as for `Bandit`; the shape of ``reference``.

    As attributes all have every axis: prompts and data sets, even where there is one.

    Raises:
        ValueError: naming the argument, what was wrong with it and what is accepted.
    """

    reference: Annotated[Floats, "prompts n"]
    winner: Annotated[Indices, "data_sets pairs"]
    loser: Annotated[Indices, "data_sets pairs"]
    prompt: Annotated[Indices, "data_sets pairs"]
    size: Annotated[Indices, "data_sets"]
    optimal: Annotated[Floats, "prompts n"] | None
    rewards: Annotated[Floats, "prompts n"] | None
    lengths: Annotated[Floats, "prompts n"] | None

    def __init__(
        self,
        reference: ArrayLike,
        winner: ArrayLike,
        loser: ArrayLike,
        prompt: ArrayLike | None = None,
        size: ArrayLike | None = None,
        optimal: ArrayLike | None = None,
        rewards: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> None:
        policy = check_policy("reference", reference, least=2)
        best = None if optimal is None else check_policy("optimal", optimal)
        if best is not None and best.shape != policy.shape:
            raise ValueError(f"optimal must have the shape of reference, {policy.shape}; got {best.shape}")
        given = {"rewards": rewards, "lengths": lengths}
        names = Names.found(None, None, {"reference": reference, **given}, {})
        own = {name: of_responses(name, x, policy.shape, names) for name, x in given.items()}
        policy, best = np.atleast_2d(policy), None if best is None else np.atleast_2d(best)
        won = _indices("winner", winner, policy.shape[1])
        lost = _indices("loser", loser, policy.shape[1])
        asked = _indices("prompt", np.zeros_like(won) if prompt is None else prompt, len(policy))
        for name, array in (("loser", lost), ("prompt", asked)):
            if array.shape != won.shape:
                raise ValueError(f"{name} must have the shape of winner, {won.shape}; got {array.shape}")
        sizes = np.full(len(won), won.shape[1]) if size is None else np.asarray(size)
        whole = sizes.dtype.kind in "iu" and sizes.shape == won.shape[:1]
        if not (whole and ((sizes > 0) & (sizes <= won.shape[1])).all()):
            raise ValueError(
                f"size must hold one whole number from 1 to {won.shape[1]} for each of {len(won)} data sets"
            )
        if (won == lost)[_used(won, sizes)].any():
            raise ValueError("loser must differ from winner: a response is not compared with itself")
        of = {name: None if x is None else np.atleast_2d(x) for name, x in own.items()}
        set_fields(self, reference=policy, winner=won, loser=lost, prompt=asked, size=sizes.copy(), optimal=best, **of)

    @property
    def data_sets(self) -> int:
        """How many data sets there are."""
        return len(self.winner)

    @cached_property
    def compared(self) -> tuple[Indices, Indices, Indices, Floats]:
        """(prompt, winner, loser, counts): what occurs in any data set, sorted, and how often, (data sets, pairs)."""
        n = self.reference.shape[1]
        used = _used(self.winner, self.size)
        found, which = np.unique(((self.prompt * n + self.winner) * n + self.loser)[used], return_inverse=True)
        place = np.nonzero(used)[0] * len(found) + which
        counts = np.bincount(place, minlength=self.data_sets * len(found)).reshape(self.data_sets, -1)
        return found // (n * n), found // n % n, found % n, counts.astype(np.float64)

    @cached_property
    def counts(self) -> Floats:
        """counts[s, x, i, j]: how often i beats j on prompt x in data set s; shape (data sets, prompts, n, n).

        A table of all pairs, for few prompts and responses; `compared` has those that occur.
        """
        sets, (prompts, n) = self.data_sets, self.reference.shape
        of = np.broadcast_to(np.arange(sets)[:, None], self.winner.shape)
        flat = ((of * prompts + self.prompt) * n + self.winner) * n + self.loser
        total = np.bincount(flat[_used(self.winner, self.size)], minlength=sets * prompts * n * n)
        return total.reshape(sets, prompts, n, n).astype(np.float64)

    def bandit(self, data_set: int = 0) -> Bandit:
        """One data set as win counts, for the exact optimum of what training minimises."""
        counts = self.counts[data_set]
        return Bandit.from_counts(self.reference, counts, rewards=self.rewards, lengths=self.lengths)


def draw_pairs(
    bandit: Bandit,
    count: int,
    data_sets: int = 1,
    *,
    seed: int = 0,
    design: str = "pairs",
    discard_equal: bool = False,
    label_noise: float = 0.0,
) -> Pairs:
    """Draw comparisons from a population: the prompt by rho, the pair by ``design``, the winner by p*.

    Args:
        bandit: a population; its preferences may be of any kind.
        count: comparisons in each data set.
        data_sets: how many to draw. Each has random numbers of its own: the first k are the same however many follow.
        design: ``"pairs"`` draws pairs from the bandit's q; ``"uniform"`` and ``"reference"`` draw two independent
            responses, all equally likely or by pi_ref, again where they are equal.
        discard_equal: throw comparisons of a response with itself away instead of drawing them again, as the paper's
            experiments do: data sets then hold fewer than ``count`` comparisons, and not all the same number. For the
            last two designs.
        label_noise: probability in [0, 1/2] that winner and loser are swapped.

    Raises:
        ValueError: naming the argument that is wrong and what is accepted.
    """
    if not isinstance(bandit, Bandit):
        raise TypeError(f"bandit must be a Bandit, got {type(bandit).__name__}")
    if bandit.counts is not None:
        raise ValueError("bandit must be a population to draw from, not win counts")
    for name, value, least in (("count", count, 1), ("data_sets", data_sets, 1), ("seed", seed, 0)):
        check_whole(name, value, least)
    check_option("design", design, DESIGNS)
    if discard_equal and design == "pairs":
        raise ValueError("discard_equal is not used by design 'pairs', which draws no equal pairs")
    check_number("label_noise", label_noise, 0.0, 0.5, low_too=True, high_too=True, kind="probability")

    reference = np.atleast_2d(bandit.reference)
    draw = _pair_sampler(bandit, design, discard_equal)
    wins = _preference(bandit)
    found = []
    for child in np.random.SeedSequence(seed).spawn(data_sets):
        rng = np.random.default_rng(child)
        prompt = rng.choice(len(reference), size=count, p=np.atleast_1d(bandit.prompt_weights))
        first, second = draw(rng, prompt)
        first_wins = rng.random(count) < wins(prompt, first, second)
        flipped = rng.random(count) < label_noise
        ahead = first_wins ^ flipped
        kept = first != second
        found.append([x[kept] for x in (np.where(ahead, first, second), np.where(ahead, second, first), prompt)])
    size = np.array([len(winner) for winner, _, _ in found])
    if (size == 0).any():
        raise ValueError(f"count must be larger: all {count} comparisons of a data set were of a response with itself")
    # padding repeats a data set from its start
    filled = [[np.resize(x, size.max()) for x in one] for one in found]
    winner, loser, prompt = np.moveaxis(np.array(filled), 1, 0)
    return Pairs(bandit.reference, winner, loser, prompt, size, bandit.optimal, bandit.rewards, bandit.lengths)


Sampler = Callable[[np.random.Generator, Indices], tuple[Indices, Indices]]


def _preference(bandit: Bandit) -> Callable[[Indices, Indices, Indices], Floats]:
    """p*(first > second) on prompts, by their numbers; the numbers of ``bandit.preference``."""
    if bandit.optimal is None:
        stated = np.broadcast_to(bandit.preference, (bandit.prompts or 1, bandit.n, bandit.n))
        return lambda prompt, first, second: np.asarray(stated[prompt, first, second])
    optimal = np.atleast_2d(bandit.optimal)

    def found(prompt: Indices, first: Indices, second: Indices) -> Floats:
        won = optimal[prompt, first]
        return np.asarray(won / (won + optimal[prompt, second]))

    return found


def _pair_sampler(bandit: Bandit, design: str, discard_equal: bool) -> Sampler:
    """A function of random numbers and prompts that draws two responses for each."""
    reference = np.atleast_2d(bandit.reference)
    prompts, n = reference.shape
    pairs = np.broadcast_to(bandit.pairs, (prompts, n, n))
    shared = design == "uniform" or (design == "pairs" and pairs.strides[0] == 0)

    def upto(asked: Indices) -> Floats:
        """Of some prompts, the cumulated probabilities of all pairs."""
        if design == "pairs":
            together = pairs[asked]
        else:
            one = np.full((len(asked), n), 1 / n) if design == "uniform" else reference[asked]
            together = one[:, :, None] * one[:, None, :]
            if not discard_equal:
                together = together * (1 - np.eye(n))
        return np.asarray(np.cumsum(together.reshape(len(asked), -1), axis=1))

    at_once = max(1, CELLS // n**2)
    table = upto(np.arange(1 if shared else prompts)) if shared or prompts <= at_once else None

    def draw(rng: np.random.Generator, prompt: Indices) -> tuple[Indices, Indices]:
        u = rng.random(len(prompt))
        if table is not None:
            row = np.zeros_like(prompt) if shared else prompt
            cell = first_above(table, row, u * table[row, -1])
        else:
            cell = np.empty_like(prompt)
            asked, row = np.unique(prompt, return_inverse=True)
            order = np.argsort(row, kind="stable")
            for begin in range(0, len(asked), at_once):
                some = upto(asked[begin : begin + at_once])
                here = order[slice(*np.searchsorted(row[order], [begin, begin + at_once]))]
                cell[here] = first_above(some, row[here] - begin, u[here] * some[row[here] - begin, -1])
        return cell // n, cell % n

    return draw


def first_above(rows: Floats, row: Indices, value: Floats) -> Indices:
    """The first place in a row of ``rows`` (R, K), sorted, that is above a value; K where none is.

    ``np.searchsorted(rows[row], value, side="right")`` for rows and values of any one shape, all at once.
    """
    low, high = np.zeros(value.shape, dtype=np.intp), np.full(value.shape, rows.shape[1])
    for _ in range(rows.shape[1].bit_length()):
        middle = (low + high) // 2
        beyond = (low < high) & (rows[row, np.minimum(middle, rows.shape[1] - 1)] <= value)
        low, high = np.where(beyond, middle + 1, low), np.where(beyond, high, middle)
    return low


def _used(winner: Indices, size: Indices) -> Mask:
    """Which of the entries (data sets, N) are comparisons, and not padding."""
    return np.arange(winner.shape[1]) < size[:, None]


def _indices(name: str, value: ArrayLike, stop: int) -> Indices:
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(
            f"{name} must be whole numbers of shape (N,) or (data sets, N), got {array.dtype} of shape {array.shape}"
        )
    if not ((array >= 0) & (array < stop)).all():
        raise ValueError(f"{name} must be from 0 to {stop - 1}, got {array[(array < 0) | (array >= stop)][0]}")
    return np.atleast_2d(array).astype(np.intp)
